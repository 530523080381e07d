"""The folders that set-up fills: dot folders of the checkout, or links to a folder elsewhere."""

import os
from pathlib import Path

from .host import SetupError

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def root(dot_folder: str, *, variable: str) -> Path:
    """The folder that the environment's `variable` names, with `dot_folder` of the checkout a link
    to it; `dot_folder` itself where the variable is not set."""
    link = CHECKOUT / dot_folder
    named = os.environ.get(variable)
    if not named:
        # A link to a folder that was removed is made good, not refused.
        found = link.resolve()
        found.mkdir(parents=True, exist_ok=True)
        return found
    found = Path(named).expanduser().resolve()
    found.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.exists() and link.resolve() != found:
        raise SetupError(
            f"{variable} names {found}, but {link} is a folder of its own: remove one of them"
        )
    if not link.exists():
        link.symlink_to(found)
    return found

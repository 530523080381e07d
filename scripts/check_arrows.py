"""Check that no module of src/ imports against the arrows of scripts/arrows.toml."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
# A string, a raw string, a character or a comment: none of them can hold a path that counts.
_NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', re.DOTALL
)
_PATH = re.compile(r"\b(crate|ecmnet_ros|(?:super\s*::\s*)*super)\s*::\s*(\{|\w+)")


def main() -> int:
    """Exit status 1, with a line a fault, when the sources break the table."""
    table = tomllib.loads((CHECKOUT / "scripts" / "arrows.toml").read_text())
    source = CHECKOUT / "src"
    found = list(faults(source, table))
    for fault in found:
        print(fault, file=sys.stderr)
    if not found:
        print(f"arrows: {len(table['modules'])} modules, none imports against them")
    return 1 if found else 0


def faults(source: Path, table: dict[str, dict[str, list[str]]]) -> Iterator[str]:
    """One sentence for each arrow of the sources that the table does not have."""
    root_names = names_at_root(source)
    for file in sorted(source.rglob("*.rs")):
        place = module_path(source, file)
        if not place:
            continue
        module, code = place[0], code_before_tests(file.read_text())
        allowed = table["modules"].get(module, ["*"] if module == "bin" else None)
        if allowed is None:
            yield f"{file}: module `{module}` has no line in scripts/arrows.toml"
            continue
        for name in sorted(set(modules_named(code, place))):
            target = root_names.get(name, name)
            if target == module or "*" in allowed or target in allowed:
                continue
            if target in table["modules"]:
                yield f"{file}: `{module}` may not use `{target}`"
        for crate, homes in table["crates"].items():
            if module not in homes and re.search(rf"\b{crate}\s*::", code):
                yield f"{file}: the crate `{crate}` stays in {', '.join(homes)}"


def module_path(source: Path, file: Path) -> list[str]:
    """`src/ros/node.rs` -> `["ros", "node"]`; the crate root is empty."""
    parts = list(file.relative_to(source).with_suffix("").parts)
    if parts[-1] == "mod" or parts == ["lib"]:
        parts.pop()
    return parts


def code_before_tests(text: str) -> str:
    """The code without comments and literals, up to the unit tests, which may use anything."""
    return re.split(r"#\[cfg\(test\)\]\s*mod\b", _NOT_CODE.sub(" ", text))[0]


def modules_named(code: str, place: list[str]) -> Iterator[str]:
    """The first segment after the crate root of each path, `use` groups and `super` resolved."""
    for match in _PATH.finditer(code):
        start, first = match.groups()
        if start.startswith("super"):
            above = place[: len(place) - start.count("super")]
            if above:
                yield above[0]
                continue
        if first == "{":
            yield from group_heads(code[match.end() :])
        else:
            yield first


def group_heads(rest: str) -> Iterator[str]:
    """The first segments of the items of a `use` group whose opening brace was just read."""
    depth, item = 1, ""
    for character in rest:
        depth += (character == "{") - (character == "}")
        if depth == 0 or (depth == 1 and character == ","):
            head = re.match(r"\s*(\w+)", item)
            if head:
                yield head.group(1)
            item = ""
            if depth == 0:
                return
        else:
            item += character


def names_at_root(source: Path) -> dict[str, str]:
    """The names that lib.rs re-exports, each with its module."""
    names = {}
    for module, what in re.findall(r"pub use (\w+)::([^;]+);", (source / "lib.rs").read_text()):
        names |= dict.fromkeys(re.findall(r"\w+", what), module)
    return names


if __name__ == "__main__":
    sys.exit(main())

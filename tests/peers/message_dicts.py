"""Messages from and to nested dictionaries, for any interface type."""

import array
import base64
import importlib
import math
from collections.abc import Callable

import numpy as np
from rclpy.time import Time

# What a message becomes: what JSON holds.
Plain = dict | list | str | int | float | bool | None


def interface_type(name: str) -> type:
    """Returns the class of `package/msg/Name` or `package/srv/Name`."""
    package, kind, type_name = name.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), type_name)


def fill_message(message: object, values: dict, *, now: Callable[[], Time]) -> object:
    """Sets the fields of a message; `"now"` as a stamp is what `now()` says once all other fields
    are set, text for bytes is base64."""
    for name, value in sorted(values.items(), key=lambda item: holds_now(item[1])):
        current = getattr(message, name)
        if value == "now":
            setattr(message, name, now().to_msg())
        elif isinstance(value, dict):
            fill_message(current, value, now=now)
        elif isinstance(value, str) and not isinstance(current, str):
            setattr(message, name, array.array("B", base64.b64decode(value)))
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            element = element_type(message, name)
            setattr(message, name, [fill_message(element(), item, now=now) for item in value])
        else:
            setattr(message, name, value)
    return message


def holds_now(value: Plain) -> bool:
    """Whether a value is, or has in it, a stamp of this moment."""
    if isinstance(value, dict):
        return any(holds_now(item) for item in value.values())
    return value == "now"


def dict_from_message(value: object) -> Plain:
    """Returns nested dictionaries and lists; bytes as base64, NaN and infinity as text."""
    if hasattr(value, "get_fields_and_field_types"):
        names = value.get_fields_and_field_types()
        return {name: dict_from_message(getattr(value, name)) for name in names}
    if isinstance(value, array.array) and value.typecode == "B":
        return base64.b64encode(value.tobytes()).decode()
    if isinstance(value, bytes):
        return int.from_bytes(value, "little")
    if isinstance(value, list | tuple | array.array | np.ndarray):
        return [dict_from_message(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def element_type(message: object, name: str) -> type:
    """Returns the class of the elements of a sequence field."""
    text = message.get_fields_and_field_types()[name]
    package, type_name = text.removeprefix("sequence<").removesuffix(">").split("/")
    return interface_type(f"{package}/msg/{type_name}")

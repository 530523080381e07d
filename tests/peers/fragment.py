"""A shipped YAML file's parameters, taken up by the rules of the node that it is for.

As in rclcpp a parameter has a declared default and its type: a value of another one ends the node.
What nobody declares would go unnoticed there; here it is an error, for it is a slip of the file.
"""

from pathlib import Path

import yaml

Value = bool | int | float | str | list


class Fragment:
    """The parameters of one node, or of one of its plugins."""

    def __init__(self, values: dict, name: str) -> None:
        self.values = values
        self.name = name
        self.taken: set[str] = set()
        self.parts: list[Fragment] = []

    @staticmethod
    def read(path: str, *node: str) -> "Fragment":
        """The parameters of the node of these namespaces and this name."""
        values = yaml.safe_load(Path(path).read_text())
        for key in node:
            values = values[key]
        return Fragment(values["ros__parameters"], node[-1])

    def declare(self, name: str, default: Value) -> Value:
        """The value of a parameter: the file's, of the default's type, or the default."""
        value = self.values.get(name, default)
        self.taken.add(name)
        if type(value) is not type(default):
            raise TypeError(f"{self.name}.{name} is {value!r}: not of the type of {default!r}")
        return value

    def part(self, name: str) -> "Fragment":
        """The parameters below a name."""
        self.taken.add(name)
        part = Fragment(self.values.get(name, {}), f"{self.name}.{name}")
        self.parts.append(part)
        return part

    def check_all_taken(self) -> None:
        """Raises where the file sets what nobody declares."""
        left = set(self.values) - self.taken
        if left:
            raise KeyError(f"nobody reads {', '.join(sorted(left))} of {self.name}")
        for part in self.parts:
            part.check_all_taken()

"""What rcl makes of names: `[[arguments, [names...]], ...]` in, JSON on both sides, lists of
resolved names out, the node's own fully qualified name first."""

import json
import sys

import rclpy


def main() -> None:
    """Answers the cases of the input."""
    cases = json.load(sys.stdin)
    json.dump([resolved(arguments, names) for arguments, names in cases], sys.stdout)


def resolved(arguments: list[str], names: list[str]) -> list[str]:
    """The names that a node called `ecmnet` has under these arguments."""
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    node = rclpy.create_node("ecmnet", context=context)
    answer = [node.get_fully_qualified_name()] + [node.resolve_topic_name(name) for name in names]
    node.destroy_node()
    context.shutdown()
    return answer


if __name__ == "__main__":
    main()

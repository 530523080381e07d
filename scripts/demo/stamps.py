"""ROS stamps as whole numbers."""

from builtin_interfaces.msg import Time


def stamp_ns(stamp: Time) -> int:
    """A ROS stamp as nanoseconds."""
    return stamp.sec * 10**9 + stamp.nanosec

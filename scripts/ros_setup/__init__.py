"""The parts of `scripts/setup_ros`, one concept a module."""

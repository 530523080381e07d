"""The definitions of interfaces/ are upstream's: type hashes agree with those of other sources."""

import json
import os
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

INTERFACES = Path(__file__).resolve().parent.parent / "interfaces"
MESSAGES = sorted(
    f"{file.parents[1].name}/msg/{file.stem}" for file in INTERFACES.glob("*/msg/*.msg")
)


def hash_in_the_prefix(message: str) -> str:
    """The hash that ROS 2's own generator gave the message, where it is installed."""
    package, _, name = message.split("/")
    for prefix in os.environ["AMENT_PREFIX_PATH"].split(os.pathsep):
        described = Path(prefix, "share", package, "msg", f"{name}.json")
        if described.is_file():
            hashes = json.loads(described.read_text())["type_hashes"]
            return next(entry["hash_string"] for entry in hashes if entry["type_name"] == message)
    pytest.fail(f"{message} is in no prefix of AMENT_PREFIX_PATH")


@pytest.mark.parametrize("message", MESSAGES)
def test_installed_type_hash_is_that_of_the_definition(message: str) -> None:
    """Between our text, hashed by rosbags, and what is installed, be it ours or a sourced ROS's."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict = {}
    for file in INTERFACES.glob("*/msg/*.msg"):
        types |= get_types_from_msg(file.read_text(), f"{file.parents[1].name}/msg/{file.stem}")
    known = {name: fields for name, fields in types.items() if name not in store.fielddefs}
    store.register(known)
    assert hash_in_the_prefix(message) == store.hash_rihs01(message)


def test_tf_message_has_the_hash_of_jazzy() -> None:
    """rosbags carries Jazzy's own tf2_msgs, which does not come from our text."""
    jazzy = get_typestore(Stores.ROS2_JAZZY).hash_rihs01("tf2_msgs/msg/TFMessage")
    assert hash_in_the_prefix("tf2_msgs/msg/TFMessage") == jazzy


def test_bond_status_has_the_hash_that_nav2_announces() -> None:
    """Read from the discovery data of a Nav2 lifecycle manager on the wire."""
    announced = "RIHS01_87eaccffa254ffffadc0b61600452e8251740f06c25659a2dbda4927fdb1f70a"
    assert hash_in_the_prefix("bond/msg/Status") == announced

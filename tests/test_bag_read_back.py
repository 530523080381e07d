"""A bag that `ecmnet world` wrote, read back with rosbags and with mcap."""

import subprocess
from pathlib import Path

import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

CHECKOUT = Path(__file__).resolve().parent.parent
FRAMES = 3


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small made drive."""
    bag = tmp_path_factory.mktemp("world") / "drive"
    program = ["cargo", "run", "--quiet", "--bin", "ecmnet", "--", "world", "--out", bag]
    options = ["--frames", str(FRAMES), "--seed", "4", "--size", "96x72"]
    subprocess.run([*program, *options], cwd=CHECKOUT, check=True)
    return bag


def test_rosbags_reads_every_message_and_writes_it_back_the_same(drive: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    counts: dict[str, int] = {}
    with Reader(drive) as reader:
        assert reader.message_count == sum(c.msgcount for c in reader.connections)
        for connection, _, raw in reader.messages():
            message = store.deserialize_cdr(raw, connection.msgtype)
            assert bytes(store.serialize_cdr(message, connection.msgtype)) == bytes(raw)
            counts[connection.topic] = counts.get(connection.topic, 0) + 1
    assert counts.pop("/tf_static") == 1
    assert counts["/camera/image_raw"] == FRAMES
    assert set(counts.values()) == {FRAMES}


def test_types_hash_as_jazzy_does_and_latched_topics_say_so(drive: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    with Reader(drive) as reader:
        for connection in reader.connections:
            assert connection.digest == store.hash_rihs01(connection.msgtype)
            (qos,) = connection.ext.offered_qos_profiles
            assert qos.reliability == QosReliability.RELIABLE
            latched = connection.topic == "/tf_static"
            assert (qos.durability == QosDurability.TRANSIENT_LOCAL) == latched


def test_mcap_decodes_every_message_by_the_schemas_in_the_file(drive: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    counts: dict[str, int] = {}
    (file,) = drive.glob("*.mcap")
    with file.open("rb") as stream, Reader(drive) as reader:
        theirs = make_reader(stream, decoder_factories=[DecoderFactory()], validate_crcs=True)
        pairs = zip(theirs.iter_decoded_messages(), reader.messages(), strict=True)
        for (schema, channel, _, message), (connection, _, raw) in pairs:
            assert (channel.topic, schema.name) == (connection.topic, connection.msgtype)
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            if schema.name == "sensor_msgs/msg/Image":
                image = store.deserialize_cdr(raw, connection.msgtype)
                assert (message.width, message.height, message.encoding) == (96, 72, image.encoding)
                assert message.header.stamp.nanosec == image.header.stamp.nanosec
                assert bytes(message.data) == image.data.tobytes()
    assert counts["/camera/image_raw"] == FRAMES
    assert counts["/tf_static"] == 1


def test_labels_are_class_ids_with_the_stamps_of_their_images(drive: Path) -> None:
    store = get_typestore(Stores.ROS2_JAZZY)
    stamps: dict[str, list[tuple[int, int]]] = {}
    with Reader(drive) as reader:
        topics = ("/camera/image_raw", "/ground_truth/labels")
        connections = [c for c in reader.connections if c.topic in topics]
        for connection, _, raw in reader.messages(connections):
            image = store.deserialize_cdr(raw, connection.msgtype)
            stamp = (image.header.stamp.sec, image.header.stamp.nanosec)
            stamps.setdefault(connection.topic, []).append(stamp)
            if connection.topic == topics[1]:
                assert image.encoding == "mono8"
                assert image.data.max() <= 11
    assert stamps[topics[0]] == stamps[topics[1]]

"""A foreign ROS 2 node that a test drives: one JSON command a line in, one JSON answer a line out.

`{"do": NAME, ...}` calls the command of that name with the other keys as arguments. An answer is
`{"ok": VALUE}` or `{"error": TEXT}`. Bytes travel as base64. The peer ends when its input does.
"""

import base64
import contextlib
import json
import queue
import sys
import threading
import time
from collections.abc import Callable

import rclpy
from message_dicts import Plain, dict_from_message, fill_message, interface_type
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo


class GraphPeer:
    """The commands, each a method."""

    def __init__(self, *, name: str) -> None:
        self.node = rclpy.create_node(name)
        self.publishers: dict = {}
        self.queues: dict = {}
        self.subscriptions: dict = {}
        self.received: dict = {}
        self.streams: dict = {}
        self.clients: dict = {}
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)

    def advertise(
        self, *, topic: str, type: str, reliable: bool = True, latched: bool = False
    ) -> None:
        """Creates (or replaces) the publisher of a topic."""
        self.withdraw(topic=topic)
        qos = qos_profile(reliable=reliable, latched=latched, depth=10)
        self.publishers[topic] = self.node.create_publisher(interface_type(type), topic, qos)

    def withdraw(self, *, topic: str) -> None:
        """Destroys the publisher of a topic, if there is one."""
        publisher = self.publishers.pop(topic, None)
        if publisher is not None:
            self.node.destroy_publisher(publisher)

    def publish(self, *, topic: str, message: dict) -> None:
        """Publishes a message given as nested fields; `"now"` as a stamp is this moment."""
        publisher = self.publishers[topic]
        # Large data takes its time to fill: the clock is read after it.
        filled = fill_message(publisher.msg_type(), message, now=self.node.get_clock().now)
        publisher.publish(filled)

    def publish_serialized(self, *, topic: str, bytes: str) -> None:
        """Publishes bytes as they are."""
        self.publishers[topic].publish(base64.b64decode(bytes))

    def stream(self, *, topic: str, message: dict, rate_hz: float, count: int = 0) -> None:
        """Publishes a message again and again, each stamped now, until `count` or `stop`.

        As a camera, it does not make up by a burst for what it is behind.
        """
        publisher = self.publishers[topic]
        filled = fill_message(publisher.msg_type(), message, now=self.node.get_clock().now)
        state = {"sent": 0, "stop": threading.Event()}
        self.streams[topic] = state

        def run() -> None:
            due = time.monotonic()
            while not state["stop"].is_set() and (count == 0 or state["sent"] < count):
                filled.header.stamp = self.node.get_clock().now().to_msg()
                publisher.publish(filled)
                state["sent"] += 1
                due = max(due, time.monotonic() - 0.5 / rate_hz) + 1.0 / rate_hz
                state["stop"].wait(max(0.0, due - time.monotonic()))

        state["thread"] = threading.Thread(target=run, daemon=True)
        state["thread"].start()

    def stop(self, *, topic: str) -> int:
        """Ends a stream and returns how many messages it sent."""
        state = self.streams.pop(topic)
        state["stop"].set()
        state["thread"].join()
        return state["sent"]

    def finish(self, *, topic: str, timeout_s: float = 60.0) -> int:
        """Waits for a stream of a given count to end and returns how many messages it sent."""
        state = self.streams.pop(topic)
        state["thread"].join(timeout_s)
        state["stop"].set()
        return state["sent"]

    def subscribe(
        self, *, topic: str, type: str, reliable: bool = True, latched: bool = False
    ) -> None:
        """Subscribes to a topic; `take` and `count` read what comes."""
        messages: queue.Queue = queue.Queue()
        self.queues[topic] = messages
        self.received[topic] = 0

        def keep(message: object) -> None:
            self.received[topic] += 1
            messages.put(message)

        qos = qos_profile(reliable=reliable, latched=latched, depth=50)
        message_type = interface_type(type)
        self.subscriptions[topic] = self.node.create_subscription(message_type, topic, keep, qos)

    def unsubscribe(self, *, topic: str) -> None:
        """Destroys a subscription."""
        self.node.destroy_subscription(self.subscriptions.pop(topic))

    def take(self, *, topic: str, timeout_s: float = 20.0) -> Plain:
        """Returns the next message as nested fields, or null after the timeout."""
        try:
            return dict_from_message(self.queues[topic].get(timeout=timeout_s))
        except queue.Empty:
            return None

    def take_latest(self, *, topic: str, timeout_s: float = 20.0) -> Plain:
        """Returns the last of the messages that have come, or waits for one."""
        latest = self.take(topic=topic, timeout_s=timeout_s)
        while not self.queues[topic].empty():
            latest = self.take(topic=topic, timeout_s=0.0) or latest
        return latest

    def count(self, *, topic: str) -> int:
        """Returns how many messages have come."""
        return self.received[topic]

    def call(
        self,
        *,
        service: str,
        type: str,
        request: dict,
        timeout_s: float = 20.0,
        service_within_s: float | None = None,
    ) -> Plain:
        """Calls a service and returns its response as nested fields."""
        service_type = interface_type(type)
        if service not in self.clients:
            self.clients[service] = self.node.create_client(service_type, service)
        client = self.clients[service]
        service_within_s = timeout_s if service_within_s is None else service_within_s
        if not client.wait_for_service(timeout_sec=service_within_s):
            raise TimeoutError(f"no service {service} within {service_within_s} s")
        now = self.node.get_clock().now
        future = client.call_async(fill_message(service_type.Request(), request, now=now))
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(timeout_s):
            raise TimeoutError(f"{service} did not answer within {timeout_s} s")
        return dict_from_message(future.result())

    def endpoints(self, *, topic: str) -> dict:
        """Returns the publishers and subscriptions of a topic."""
        return {
            "publishers": [
                endpoint_dict(info) for info in self.node.get_publishers_info_by_topic(topic)
            ],
            "subscriptions": [
                endpoint_dict(info) for info in self.node.get_subscriptions_info_by_topic(topic)
            ],
        }

    def used_by(self, *, node: str) -> dict | None:
        """Returns the names of what a node of the root namespace publishes, reads and serves.

        null as long as the graph does not show the node.
        """
        if (node, "/") not in self.node.get_node_names_and_namespaces():
            return None
        names_of = {
            "publish": self.node.get_publisher_names_and_types_by_node,
            "subscribe": self.node.get_subscriber_names_and_types_by_node,
            "reply": self.node.get_service_names_and_types_by_node,
            "request": self.node.get_client_names_and_types_by_node,
        }
        return {right: sorted(dict(names(node, "/"))) for right, names in names_of.items()}

    def start_lifecycle_node(self, *, name: str) -> None:
        """Starts a managed node of rclpy's, which has its states and transitions from rcl."""
        self.managed_node = LifecycleNode(name)
        self.executor.add_node(self.managed_node)

    def topics(self) -> dict:
        """Returns every topic with its types."""
        return dict(self.node.get_topic_names_and_types())

    def matched(self, *, topic: str) -> int:
        """Returns how many subscriptions read this peer's publisher."""
        return self.publishers[topic].get_subscription_count()


def qos_profile(*, reliable: bool, latched: bool, depth: int) -> QoSProfile:
    """Returns a keep-last profile."""
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def endpoint_dict(info: TopicEndpointInfo) -> dict:
    """Returns what a test asks of an endpoint."""
    return {
        "node": f"{info.node_namespace.rstrip('/')}/{info.node_name}",
        "type": info.topic_type,
        "reliable": info.qos_profile.reliability == ReliabilityPolicy.RELIABLE,
        "latched": info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
    }


def spin(executor: SingleThreadedExecutor) -> None:
    """Spins until ROS is shut down."""
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()


def answer_commands(make_peer: Callable[..., GraphPeer]) -> None:
    """Answers commands until the input ends."""
    rclpy.init()
    peer = make_peer(name=sys.argv[1])
    spinning = threading.Thread(target=spin, args=(peer.executor,))
    spinning.start()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = {"ok": getattr(peer, command.pop("do"))(**command)}
        except Exception as error:  # whatever it is, the test should read it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    for topic in list(peer.streams):
        peer.stop(topic=topic)
    rclpy.shutdown()
    spinning.join()


if __name__ == "__main__":
    answer_commands(GraphPeer)

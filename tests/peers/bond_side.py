"""One side of a bond, with the states and the times of bondcpp."""

import threading
import time
import uuid

from bond.msg import Status
from rclpy.node import Node
from rclpy.qos import QoSProfile

CONNECT_WITHIN_S = 10.0
DISCONNECT_WITHIN_S = 2.0
DEATH_PERIOD_S = 0.05
# How often the times are looked at.
TICK_S = 0.01


class BondSide:
    """A side that takes the other for dead after its silence, as a lifecycle manager's does."""

    def __init__(self, *, node: Node, id: str, timeout_s: float, period_s: float) -> None:
        self.node = node
        self.id = id
        self.instance_id = str(uuid.uuid4())
        self.timeout_s = timeout_s
        self.period_s = period_s
        self.state = "waiting for sister"
        self.sister_died_first = False
        self.since = self.heard = self.told = time.monotonic()
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.publisher = node.create_publisher(Status, "bond", QoSProfile(depth=5))
        self.subscription = node.create_subscription(
            Status, "bond", self._hear, QoSProfile(depth=100)
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def formed_within(self, seconds: float) -> bool:
        """Whether the other side is heard in time."""
        start = time.monotonic()
        while self.state == "waiting for sister" and time.monotonic() - start < seconds:
            time.sleep(TICK_S)
        return self.state != "waiting for sister"

    def is_broken(self) -> bool:
        """Whether it is over."""
        return self.state == "dead"

    def close(self) -> None:
        """Parts from the other side, which has 0.1 s to part, too."""
        with self.lock:
            if self.state != "dead":
                self._enter("dead" if self.state == "waiting for sister" else "awaiting death")
                self._tell(active=False)
        start = time.monotonic()
        while self.state != "dead" and time.monotonic() - start < 0.1:
            time.sleep(TICK_S)
        self.ended.set()
        self.thread.join()
        self.node.destroy_subscription(self.subscription)
        self.node.destroy_publisher(self.publisher)

    def _hear(self, status: Status) -> None:
        if status.id != self.id or status.instance_id == self.instance_id:
            return
        with self.lock:
            if status.active:
                self.heard = time.monotonic()
                if self.state == "waiting for sister":
                    self._enter("alive")
                return
            if self.state in ("waiting for sister", "alive"):
                self.sister_died_first = True
            self._enter("dead")
            if self.sister_died_first:
                self._tell(active=False)

    def _run(self) -> None:
        while not self.ended.wait(TICK_S):
            with self.lock:
                self._tick(time.monotonic())

    def _tick(self, now: float) -> None:
        limits = {
            "waiting for sister": (self.since, CONNECT_WITHIN_S),
            "alive": (self.heard, self.timeout_s),
            "awaiting death": (self.since, DISCONNECT_WITHIN_S),
        }
        start, limit = limits.get(self.state, (now, 1.0))
        if now - start >= limit:
            self._enter("dead")
        alive = self.state in ("waiting for sister", "alive")
        period = self.period_s if alive else DEATH_PERIOD_S
        if self.state != "dead" and now - self.told >= period:
            self._tell(active=alive)

    def _enter(self, state: str) -> None:
        self.state = state
        self.since = time.monotonic()

    def _tell(self, *, active: bool) -> None:
        self.told = time.monotonic()
        status = Status(id=self.id, instance_id=self.instance_id, active=active)
        status.header.stamp = self.node.get_clock().now().to_msg()
        status.heartbeat_timeout = self.timeout_s
        status.heartbeat_period = self.period_s
        self.publisher.publish(status)

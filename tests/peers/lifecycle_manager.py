"""A peer that manages a node as nav2_lifecycle_manager does: its order, checks and time limits.

What it does is from that program's rules: a service has 5 s to be there, a transition takes as long
as it takes and is checked by a question for the state, a bond of 4 s must form within half of that
after an activation, bonds are looked at every 0.2 s, and a node that is lost is brought up again
when it answers within 10 s.
"""

import threading
import time

from bond_side import BondSide
from graph_peer import GraphPeer, answer_commands

SERVICE_WITHIN_S = 5.0
BOND_TIMEOUT_S = 4.0
BOND_PERIOD_S = 0.1
LOOK_EVERY_S = 0.2
RESPAWN_LOOK_EVERY_S = 1.0
RESPAWN_WITHIN_S = 10.0
# Nav2 waits for a transition without a limit; a test does not.
TRANSITION_WITHIN_S = 60.0

CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE, UNCONFIGURED_SHUTDOWN = 1, 2, 3, 4, 5
# The state that each is to lead to: unconfigured 1, inactive 2, active 3, finalized 4.
STATE_AFTER = {CONFIGURE: 2, CLEANUP: 1, ACTIVATE: 3, DEACTIVATE: 2, UNCONFIGURED_SHUTDOWN: 4}


class LifecycleManager(GraphPeer):
    """The manager's commands, beside a peer's; `manage` names the node."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)
        self.managed = ""
        self.bond: BondSide | None = None
        self.state = "unconfigured"
        self.watching: threading.Event | None = None
        self.history: list[dict] = []
        self.lost_at: float | None = None

    def manage(self, *, node: str) -> None:
        """Names the node."""
        self.managed = node

    def startup(self) -> bool:
        """Configures and activates."""
        good = self._change(CONFIGURE) and self._change(ACTIVATE)
        return self._become("active" if good else "unknown", good=good)

    def pause(self) -> bool:
        """Deactivates."""
        self._stop_watching()
        good = self._change(DEACTIVATE)
        return self._become("inactive" if good else "unknown", good=good)

    def resume(self) -> bool:
        """Activates again."""
        good = self._change(ACTIVATE)
        return self._become("active" if good else "unknown", good=good)

    def reset(self) -> bool:
        """Deactivates and cleans up."""
        self._stop_watching()
        good = self._change(DEACTIVATE) and self._change(CLEANUP)
        return self._become("unconfigured" if good else "unknown", good=good)

    def shutdown(self) -> bool:
        """Deactivates, cleans up and shuts down, whatever any of it gives."""
        self._stop_watching()
        results = [self._change(each) for each in (DEACTIVATE, CLEANUP, UNCONFIGURED_SHUTDOWN)]
        return self._become("finalized", good=all(results))

    def managed_state(self) -> str:
        """What the manager takes the node for."""
        return self.state

    def transitions(self) -> list[dict]:
        """Every transition so far, whether it was done, and what it took."""
        return self.history

    def lost_seconds_ago(self) -> float | None:
        """How long ago the bond was found broken; null where it was not."""
        return None if self.lost_at is None else time.monotonic() - self.lost_at

    def _become(self, state: str, *, good: bool) -> bool:
        self.state = state
        if state == "active":
            self._watch()
        return good

    def _change(self, transition: int, *, within_s: float = TRANSITION_WITHIN_S) -> bool:
        start = time.monotonic()
        done = self._changed(transition, within_s)
        bonded = done
        if done and transition == ACTIVATE:
            bonded = self._bond()
        elif done and transition == DEACTIVATE:
            self._drop_bond()
        seconds = time.monotonic() - start
        self.history.append({"transition": transition, "done": bonded, "seconds": seconds})
        return bonded

    def _changed(self, transition: int, within_s: float) -> bool:
        request = {"transition": {"id": transition}}
        try:
            answer = self._ask("change_state", "ChangeState", request, within_s)
        except TimeoutError:
            return False
        return answer["success"] and self._node_state() == STATE_AFTER[transition]

    def _node_state(self) -> int:
        answer = self._ask("get_state", "GetState", {}, SERVICE_WITHIN_S)
        return answer["current_state"]["id"]

    def _ask(self, service: str, type_name: str, request: dict, seconds: float) -> dict:
        return self.call(
            service=f"{self.managed}/{service}",
            type=f"lifecycle_msgs/srv/{type_name}",
            request=request,
            service_within_s=SERVICE_WITHIN_S,
            timeout_s=seconds,
        )

    def _bond(self) -> bool:
        if self.bond is None:
            self.bond = BondSide(
                node=self.node,
                id=self.managed.rsplit("/", 1)[-1],
                timeout_s=BOND_TIMEOUT_S,
                period_s=BOND_PERIOD_S,
            )
            return self.bond.formed_within(BOND_TIMEOUT_S / 2)
        return True

    def _drop_bond(self) -> None:
        if self.bond is not None:
            self.bond.close()
            self.bond = None

    def _watch(self) -> None:
        self._stop_watching()
        self.watching = threading.Event()
        threading.Thread(target=self._look, args=(self.watching,), daemon=True).start()

    def _stop_watching(self) -> None:
        if self.watching is not None:
            self.watching.set()

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_EVERY_S):
            if self.bond is not None and self.bond.is_broken():
                ended.set()
                self.lost_at = time.monotonic()
                self.state = "lost"
                # A hard reset goes on where a transition fails; a dead node's services are in the
                # graph until DDS's lease ends, and nobody answers.
                self._change(DEACTIVATE, within_s=SERVICE_WITHIN_S)
                self._change(CLEANUP, within_s=SERVICE_WITHIN_S)
                self._drop_bond()
                self.state = "unconfigured"
                self._await_respawn()

    def _await_respawn(self) -> None:
        start = time.monotonic()
        while time.monotonic() - start < RESPAWN_WITHIN_S:
            time.sleep(RESPAWN_LOOK_EVERY_S)
            try:
                self._node_state()
            except TimeoutError:
                continue
            self.startup()
            return


if __name__ == "__main__":
    answer_commands(LifecycleManager)

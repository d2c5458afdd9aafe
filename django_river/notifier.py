"""Turns notifications into wake-ups. A notification is a hint that may be lost: everything it says is polled too."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from django_river.service import Service
from django_river.storage.base import (
    TOPIC_CONTROL,
    TOPIC_INSERT,
    TOPIC_LEADERSHIP,
    TOPIC_QUEUES,
    TOPIC_REGISTRY,
    Listener,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

TOPICS = (TOPIC_INSERT, TOPIC_CONTROL, TOPIC_LEADERSHIP, TOPIC_QUEUES, TOPIC_REGISTRY)
#: After so many seconds of silence the connection is asked whether it still lives. That is for what stands between us and
#: the server, and for Windows: a network that is cut is noticed sooner, by the keepalives of the connection.
SILENCE = 30.0
#: How often a connection that cannot hear (a pooler) is tried again.
DEAF_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """What to call for what is heard. ``on_connect`` follows every (re)connect: much may have been missed.

    ``on_disconnect`` says that our session is lost: others may soon take us for dead.
    """

    on_insert: Callable[[str], None]
    on_cancel: Callable[[int], None]
    on_pause: Callable[[str, bool], None]
    on_leadership: Callable[[str, str], None]
    on_connect: Callable[[], None]
    on_queues: Callable[[], None] = lambda: None
    on_disconnect: Callable[[], None] = lambda: None
    on_registry: Callable[[], None] = lambda: None


class Notifier(Service):
    """Listens on a connection of its own, and reconnects when it breaks."""

    def __init__(self, *, listener: Listener, ears: Ears) -> None:
        super().__init__("notifier")
        self.listener = listener
        self.ears = ears

        #: Whether notifications arrive now. Written in our thread, read by those who then poll less.
        self.is_listening = False
        # Whether we have said that they do not.
        self._is_deaf = False

    def step(self) -> float:
        if not self.is_listening:
            if not self.listener.connect(TOPICS):
                if not self._is_deaf:
                    logger.warning(
                        "the database is reached through a pooler that swallows LISTEN: polling instead. "
                        "To be woken at once, give workers a direct connection."
                    )
                self._is_deaf = True
                return DEAF_SECONDS
            self.is_listening, self._is_deaf = True, False
            self.ears.on_connect()
            if self.is_stopping:
                # The stop came while we were connecting, and found nothing to interrupt.
                return 0.0
        try:
            heard = self.listener.wait(SILENCE)
        except Exception:
            self.is_listening = False
            self.listener.close()
            self.ears.on_disconnect()
            raise
        for topic, payload in heard:
            self._tell(topic, payload)
        return 0.0

    def interrupt(self) -> None:
        self.listener.interrupt()

    def cleanup(self) -> None:
        self.is_listening = False
        self.listener.close()

    def _tell(self, topic: str, payload: str) -> None:
        try:
            message = json.loads(payload)
            self._dispatch(topic, message)
        except Exception:  # noqa: BLE001  (anybody may send anything: the others must be told all the same)
            logger.warning("a notification on %s is not understood: %.200s", topic, payload)

    def _dispatch(self, topic: str, message: dict[str, Any]) -> None:
        action = message.get("action")
        if topic == TOPIC_INSERT:
            self.ears.on_insert(_of_type(str, message["queue"]))
        elif topic == TOPIC_QUEUES:
            self.ears.on_queues()
        elif topic == TOPIC_LEADERSHIP:
            self.ears.on_leadership(str(action), str(message.get("leader_id", "")))
        elif topic == TOPIC_REGISTRY:
            self.ears.on_registry()
        elif action == "cancel":
            self.ears.on_cancel(_of_type(int, message["job_id"]))
        elif action in {"pause", "resume"}:
            self.ears.on_pause(_of_type(str, message["queue"]), action == "pause")


def _of_type(expected: type[T], value: object) -> T:
    # Not isinstance: JSON's true is no id.
    if type(value) is not expected:
        raise TypeError(f"must be {expected.__name__}, not {value!r}")
    return value

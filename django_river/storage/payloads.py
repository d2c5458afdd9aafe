"""The messages River clients send one another (PROTOCOL 2)."""

from __future__ import annotations

import json
from functools import lru_cache

#: Ours, on a topic of our own: which rows have changed is read from the rows.
QUEUES_CHANGED = '{"action": "changed"}'


def cancel_payload(job_id: int, queue: str) -> str:
    """A running job was asked to cancel."""
    return json.dumps({"action": "cancel", "job_id": job_id, "queue": queue})


@lru_cache(maxsize=4096)
def insert_payload(queue: str) -> str:
    """Jobs became available in a queue."""
    return json.dumps({"queue": queue})


def leadership_payload(action: str, leader_id: str) -> str:
    """``resigned``: a leader gave up its term; ``request_resign``: somebody asks it to."""
    return json.dumps({"action": action, "leader_id": leader_id})


def queue_payload(action: str, queue: str) -> str:
    """``pause`` or ``resume`` of a queue, or of all as ``*``."""
    return json.dumps({"action": action, "queue": queue})

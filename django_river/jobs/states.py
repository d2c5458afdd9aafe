"""River's eight states and the ways between them.

The drawing is in ``docs/state-machine.md``; a test compares it with :data:`TRANSITIONS`.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The order is that of River's enum."""

    AVAILABLE = "available"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    DISCARDED = "discarded"
    PENDING = "pending"
    RETRYABLE = "retryable"
    RUNNING = "running"
    SCHEDULED = "scheduled"

    @property
    def is_final(self) -> bool:
        """Whether a job in this state is over: ``finalized_at`` is set exactly then."""
        return self in FINAL

    @property
    def bit(self) -> int:
        """This state's bit in ``unique_states`` (PROTOCOL 3): available is 1, scheduled 128."""
        return 1 << _ORDER.index(self)


_ORDER = tuple(State)

FINAL = frozenset({State.CANCELLED, State.COMPLETED, State.DISCARDED})
OPEN = frozenset(State) - FINAL

#: Every move a row can make, and what makes it. ``None`` stands for "no row yet" and "no row any more".
TRANSITIONS: dict[tuple[State | None, State | None], str] = {
    (None, State.AVAILABLE): "enqueue",
    (None, State.SCHEDULED): "enqueue with a later run_after",
    (None, State.PENDING): "enqueue with pending",
    (State.AVAILABLE, State.RUNNING): "fetch",
    (State.RUNNING, State.COMPLETED): "success",
    (State.RUNNING, State.RETRYABLE): "error, rescue",
    (State.RUNNING, State.AVAILABLE): "error or snooze due within 5 s, interruption, hand back",
    (State.RUNNING, State.SCHEDULED): "snooze",
    (State.RUNNING, State.DISCARDED): "error or rescue at the last attempt, JobDiscard",
    (State.RUNNING, State.CANCELLED): "JobCancel, cancel asked for",
    (State.SCHEDULED, State.AVAILABLE): "due, retry by hand",
    (State.RETRYABLE, State.AVAILABLE): "due, retry by hand",
    (State.SCHEDULED, State.DISCARDED): "due, but its unique key is taken",
    (State.RETRYABLE, State.DISCARDED): "due, but its unique key is taken",
    (State.PENDING, State.AVAILABLE): "retry by hand",
    (State.AVAILABLE, State.CANCELLED): "cancel",
    (State.PENDING, State.CANCELLED): "cancel",
    (State.RETRYABLE, State.CANCELLED): "cancel",
    (State.SCHEDULED, State.CANCELLED): "cancel",
    (State.CANCELLED, State.AVAILABLE): "retry by hand",
    (State.COMPLETED, State.AVAILABLE): "retry by hand",
    (State.DISCARDED, State.AVAILABLE): "retry by hand",
    (State.AVAILABLE, None): "delete",
    (State.PENDING, None): "delete",
    (State.RETRYABLE, None): "delete",
    (State.SCHEDULED, None): "delete",
    (State.CANCELLED, None): "delete, kept long enough",
    (State.COMPLETED, None): "delete, kept long enough",
    (State.DISCARDED, None): "delete, kept long enough",
}


def bit_mask(states: frozenset[State] | set[State]) -> int:
    """The integer that stands for a set of states in ``unique_states``.

    >>> bit_mask(set(State) - {State.CANCELLED, State.DISCARDED})
    245
    """
    return sum(state.bit for state in states)

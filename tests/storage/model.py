"""What the job table should hold, in Python: the contract of storage written a second time, as plainly as possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django_river.jobs.states import FINAL, State
from django_river.storage.base import JobSetState


@dataclass
class Row:
    """A job, as far as rules depend on it."""

    id: int
    state: State
    max_attempts: int
    key: str | None
    mask: int
    #: Whether its time has come.
    is_due: bool
    attempt: int = 0
    errors: int = 0
    rescues: int = 0
    cancel_asked: bool = False
    clients: list[str] = field(default_factory=list)

    @property
    def holds_key(self) -> bool:
        return self.key is not None and bool(self.mask & self.state.bit)

    @property
    def owner(self) -> str | None:
        return self.clients[-1] if self.clients else None

    def end(self, state: State) -> None:
        """End as cancelled or discarded, without taking a key that it does not hold."""
        if not self.holds_key:
            self.mask &= ~state.bit
        self.state = state


class Model:
    """The table."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}

    def holder(self, key: str | None) -> Row | None:
        """Who holds a key."""
        return next(
            (row for row in self.rows.values() if key is not None and row.holds_key and row.key == key), None
        )

    def insert(self, row: Row) -> None:
        self.rows[row.id] = row

    def claimable(self) -> set[int]:
        return {row.id for row in self.rows.values() if row.state is State.AVAILABLE and row.is_due}

    def claim(self, id: int, client_id: str) -> None:
        row = self.rows[id]
        row.state, row.attempt = State.RUNNING, row.attempt + 1
        row.clients.append(client_id)

    def settle(self, change: JobSetState, client_id: str) -> State | None:
        """Apply a result; the state it leads to, or ``None`` if the fence refuses it."""
        row = self.rows.get(change.id)
        if row is None or (row.state, row.attempt, row.owner) != (State.RUNNING, change.attempt, client_id):
            return None
        row.errors += change.error is not None
        if row.cancel_asked and change.state not in FINAL:
            row.state = State.CANCELLED
            return row.state
        row.attempt -= change.give_attempt_back
        if change.delay is not None:
            row.is_due = not change.delay
        row.state = change.state
        return row.state

    def cancel(self, ids: Iterable[int]) -> set[int]:
        changed = {id for id in ids if id in self.rows and self.rows[id].state not in FINAL}
        for row in map(self.rows.__getitem__, changed):
            row.cancel_asked = True
            if row.state is not State.RUNNING:
                row.end(State.CANCELLED)
        return changed

    def retry(self, ids: Iterable[int]) -> set[int]:
        rows = [
            self.rows[id]
            for id in sorted(set(ids))
            if id in self.rows and self.rows[id].state is not State.RUNNING
        ]
        losers = self._losers(rows)
        for row in rows:
            if row.id not in losers:
                row.state, row.is_due, row.cancel_asked = State.AVAILABLE, True, False
                if row.attempt >= row.max_attempts:
                    row.max_attempts = row.attempt + 1
        return {row.id for row in rows} - losers

    def delete(self, ids: Iterable[int]) -> set[int]:
        gone = {id for id in ids if id in self.rows and self.rows[id].state is not State.RUNNING}
        for id in gone:
            del self.rows[id]
        return gone

    def schedule(self, page: Iterable[int]) -> int:
        """Make the jobs of a page available, those due first coming first; how many are."""
        rows = [self.rows[id] for id in page]
        losers = self._losers(rows)
        for row in rows:
            if row.id in losers:
                row.end(State.DISCARDED)
            else:
                row.state = State.AVAILABLE
        return len(rows) - len(losers)

    def clean(self, state: State) -> int:
        """Delete the jobs that ended so; how many there were."""
        over = [row.id for row in self.rows.values() if row.state is state]
        for id in over:
            del self.rows[id]
        return len(over)

    def rescue(self, *, alive: set[str], known: bool) -> set[int]:
        lost = [
            row
            for row in self.rows.values()
            if row.state is State.RUNNING
            and row.owner not in alive
            and (row.attempt < row.max_attempts or row.cancel_asked or known)
        ]
        for row in lost:
            row.errors, row.rescues, row.is_due = row.errors + 1, row.rescues + 1, True
            if row.cancel_asked:
                row.state = State.CANCELLED
            else:
                row.state = State.DISCARDED if row.attempt >= row.max_attempts else State.RETRYABLE
        return {row.id for row in lost}

    def release(self, client_id: str, known: Iterable[int]) -> set[int]:
        mine = [row for row in self.rows.values() if row.state is State.RUNNING and row.owner == client_id]
        released = [row for row in mine if row.id not in set(known)]
        for row in released:
            row.attempt -= 1
            row.state = State.CANCELLED if row.cancel_asked else State.AVAILABLE
        return {row.id for row in released}

    def _losers(self, rows: list[Row]) -> set[int]:
        """Those that find their key taken, by who holds it or by one that comes before them."""
        losers, seen = set(), set()
        for row in rows:
            if row.key is None or row.holds_key or not row.mask & State.AVAILABLE.bit:
                continue
            if self.holder(row.key) or row.key in seen:
                losers.add(row.id)
            seen.add(row.key)
        return losers

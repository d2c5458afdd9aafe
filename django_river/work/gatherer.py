"""Gathers claimed jobs of batch kinds until their batch is full, or the first of them has waited long enough.

The first job of a kind and key that a claim brings *opens* a batch. Further claims add to it; if there may be more in the
queue, one by kind and key fills it. A batch that is full or has waited is *ready*, and starts when its queue has a slot;
until then it may still be filled. A batch takes one slot, and takes it when it starts: what is gathered keeps no
other job from running. But batches that are ready count, so that the slots that become free are theirs.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from django_river.jobs.batch import Batch
from django_river.jobs.definition import Definition
from django_river.jobs.registry import Registry
from django_river.storage.batches import LeftOut, Wanted
from django_river.work import outcomes
from django_river.work.attempts import Attempt
from django_river.work.batches import BatchCall, Member
from django_river.work.homes import Homes
from django_river.work.outcomes import Outcome
from django_river.work.producer import Producer

#: No client has more open batches than this: the oldest goes ahead of its time.
MOST_OPEN = 1000
#: So many jobs of a kind may be gathered to fill batches whose key only a function knows: some of each key come along.
MOST_HELD = 2000
#: A batch for which there were too few jobs is not asked for again so soon, in seconds, unless a claim brings some.
ASK_AGAIN = 0.05
#: Longer than any job has waited.
FOR_EVER = 315_360_000.0


class OpenBatch:
    """Members of one kind and key, claimed and not started."""

    __slots__ = ("_value", "ask_at", "key", "kind", "members", "options", "producer", "ready_at")

    def __init__(self, member: Member, options: Batch, *, wait: float) -> None:
        self.producer = member.producer
        self.kind = member.job.kind
        self.key = member.key
        self.options = options
        self.members = [member]
        #: When it has waited long enough; monotonic.
        self.ready_at = time.monotonic() + wait
        #: When it is worth asking for more, if there may be more in its queue.
        self.ask_at = 0.0

        # The key as its argument is stored, if it is one.
        self._value = _as_json(self.key) if isinstance(options.by, str) else None

    @property
    def missing(self) -> int:
        """How many more it takes."""
        return self.options.size - len(self.members)

    def is_ready(self, now: float) -> bool:
        """Whether it may start."""
        return self.missing <= 0 or now >= self.ready_at

    def add(self, member: Member) -> None:
        """Take one more."""
        self.members.append(member)
        self.ask_at = 0.0
        if self.missing <= 0:
            self.ready_at = min(self.ready_at, time.monotonic())

    @property
    def is_sorted_by_function(self) -> bool:
        """Whether more of the same key cannot be asked for."""
        return callable(self.options.by)

    @property
    def can_be_filled(self) -> bool:
        """Whether it is worth asking for more."""
        return self.missing > 0 and self.producer.may_have_work and time.monotonic() >= self.ask_at

    def was_asked_for_in_vain(self) -> None:
        """There were too few."""
        self.ask_at = time.monotonic() + ASK_AGAIN

    def wanted(self) -> Wanted:
        """What would fill it; if a function knows its key, any job of the kind may."""
        by = self.options.by
        wanted = Wanted(queue=self.producer.name, kind=self.kind, limit=self.missing)
        if not isinstance(by, str):
            return wanted
        return replace(wanted, argument=by, value=self._value)


class Gatherer:
    """Used by the fetcher, in its thread; what others may do at any time is to take back what is gathered."""

    def __init__(
        self, *, registry: Registry, homes: Homes, settle: Callable[[Attempt, Outcome], bool]
    ) -> None:
        self.homes = homes
        self.settle = settle
        #: The batch kinds, aliases among them.
        self.kinds: dict[str, tuple[Definition[..., Any], Batch]] = {
            kind: (definition, definition.options.batch)
            for definition in registry
            if definition.options.batch is not None
            for kind in (definition.kind, *definition.aliases)
        }

        # Guarded by the lock: batches that can take more, the oldest first, and those that cannot.
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str, Hashable], OpenBatch] = {}
        self._full: list[OpenBatch] = []
        # Where batch kinds have been seen. Written by the fetcher, read by whoever hints; replaced as a whole.
        self._seen = frozenset(
            (definition.options.queue, kind) for kind, (definition, _) in self.kinds.items()
        )
        # Used in the fetcher's thread only: calls that have begun, of functions that limit them; whose slots ready
        # batches wait for; whether any waits for a call to end; and which kinds are left out because theirs have all.
        self._running: dict[Definition[..., Any], list[BatchCall]] = {}
        self._awaited: set[Producer] = set()
        self._is_waiting = False
        self._kept_out: set[tuple[str, str]] = set()

    def add(self, members: Iterable[Member]) -> None:
        """Put claimed jobs into their batches; one whose key cannot be told fails alone."""
        for member in members:
            member.producer.take_gathered = partial(self.take, member.producer)
            place = member.job.queue, member.job.kind
            if place not in self._seen:
                self._seen |= {place}
            definition, options = self.kinds[member.job.kind]
            try:
                self._put(member, definition, options)
            except BaseException as error:
                # Whatever it is: it comes from the user's code, and the others are claimed and must go on.
                trace = outcomes.trace_of(error)
                self.settle(member, outcomes.failed(error, member.job, definition, trace=trace))

    def take(self, producer: Producer, longer_than: float) -> list[Attempt]:
        """Take back what a queue has gathered: all, or what has been ready for so many seconds without a slot."""
        before = math.inf if longer_than < 0 else time.monotonic() - longer_than
        with self._lock:
            taken = [batch for batch in self._all() if batch.producer is producer and batch.ready_at < before]
            self._remove(taken)
        return [member for batch in taken for member in batch.members]

    def to_fill(self, room: int) -> list[OpenBatch]:
        """Batches for which there is a slot, and may be more jobs."""
        with self._lock:
            batches = self._all()
            held = Counter((batch.producer, batch.kind) for batch in batches for _ in batch.members)
            return [
                batch
                for batch in self._with_slots(batches, room)
                if batch.can_be_filled
                and not (batch.is_sorted_by_function and held[batch.producer, batch.kind] >= MOST_HELD)
            ]

    def start(self, room: int) -> list[BatchCall]:
        """Begin calls of batches that are ready, as far as there are slots: their queues have them afterwards."""
        now = time.monotonic()
        with self._lock:
            ready = [batch for batch in self._all() if batch.is_ready(now)]
            starting = self._with_slots(ready, room)
            self._remove(starting)
        calls = [self._begin(batch) for batch in starting]
        left = [batch for batch in ready if batch not in starting]
        # Those whose function has all its calls wait for one of them, and keep no slot from others.
        waiting = Counter(batch.producer for batch in left if not self._lacks_calls(batch))
        for producer in self._awaited | set(waiting):
            producer.reserved = waiting[producer]
        self._awaited = set(waiting)
        self._is_waiting = bool(left)
        return calls

    @property
    def is_held_up(self) -> bool:
        """Whether it matters that a call ends: batches are ready and cannot start, or a kind has all its calls."""
        return self._is_waiting or bool(self._kept_out)

    def let_in(self) -> list[str]:
        """Queues in which there may be jobs of a kind that had all its calls, and has not any more."""
        let_in = {place for place in self._kept_out if not self._has_all_calls(place[1])}
        self._kept_out -= let_in
        return [queue for queue, _ in let_in]

    @property
    def next_at(self) -> float:
        """When the next batch will have waited long enough."""
        now = time.monotonic()
        with self._lock:
            return min((b.ready_at for b in self._open.values() if b.ready_at > now), default=math.inf)

    def left_out(self, queues: Collection[str]) -> list[LeftOut]:
        """What claims of these queues are to leave out: kinds that have all their calls, and others' young jobs."""
        found = []
        for queue, kind in self._seen:
            if queue in queues:
                seconds = self._seconds_left_out(queue, kind)
                if seconds > 0:
                    found.append(LeftOut(queue=queue, kind=kind, seconds=seconds))
        return found

    def patience(self, queue: str) -> float:
        """How old jobs of this queue must be, in seconds, to concern us though their home is elsewhere."""
        return max(
            (
                self.kinds[kind][1].wait_seconds
                for name, kind in self._seen
                if name == queue and not self.homes.is_here(queue, kind)
            ),
            default=0.0,
        )

    def _put(self, member: Member, definition: Definition[..., Any], options: Batch) -> None:
        if options.by is not None:
            member.key = options.key(definition.item(**definition.arguments.decode(member.job.args)))
        place = (member.job.queue, member.job.kind, member.key)
        with self._lock:
            batch = self._open.get(place)
            if batch is None:
                # Away from its home it has been due for as long as it should wait.
                wait = options.wait_seconds if self.homes.is_here(*place[:2]) else 0.0
                batch = self._open[place] = OpenBatch(member, options, wait=wait)
                self._bound()
            else:
                batch.add(member)
            if batch.missing <= 0:
                del self._open[place]
                self._full.append(batch)

    def _bound(self) -> None:
        if len(self._open) > MOST_OPEN:
            now = time.monotonic()
            waiting = next((batch for batch in self._open.values() if batch.ready_at > now), None)
            if waiting is not None:
                waiting.ready_at = now

    def _all(self) -> list[OpenBatch]:
        """Those that have waited longest come first; the lock is held."""
        return sorted([*self._full, *self._open.values()], key=lambda batch: batch.ready_at)

    def _remove(self, batches: Collection[OpenBatch]) -> None:
        self._full = [batch for batch in self._full if batch not in batches]
        self._open = {place: batch for place, batch in self._open.items() if batch not in batches}

    def _with_slots(self, batches: Iterable[OpenBatch], room: int) -> list[OpenBatch]:
        """Those of the batches that could start now, in their order."""
        chosen: list[OpenBatch] = []
        taken: Counter[object] = Counter()
        for batch in batches:
            producer, (definition, _) = batch.producer, self.kinds[batch.kind]
            if len(chosen) >= room:
                break
            if producer.is_closed or taken[producer] >= producer.free:
                continue
            if self._lacks_calls(batch, taken[definition]):
                continue
            taken[producer] += 1
            taken[definition] += 1
            chosen.append(batch)
        return chosen

    def _begin(self, batch: OpenBatch) -> BatchCall:
        call = BatchCall(batch.members)
        if batch.options.max_concurrent is not None:
            self._running.setdefault(self.kinds[batch.kind][0], []).append(call)
        return call

    def _lacks_calls(self, batch: OpenBatch, more: int = 0) -> bool:
        """Whether its function has all the calls that it may have, if so many more have begun."""
        limit = batch.options.max_concurrent
        return limit is not None and self._calls_of(self.kinds[batch.kind][0]) + more >= limit

    def _calls_of(self, definition: Definition[..., Any]) -> int:
        """How many calls of a function that limits them run now."""
        running = [call for call in self._running.get(definition, ()) if not call.is_settled]
        self._running[definition] = running
        return len(running)

    def _seconds_left_out(self, queue: str, kind: str) -> float:
        if self._has_all_calls(kind):
            self._kept_out.add((queue, kind))
            return FOR_EVER
        return 0.0 if self.homes.is_here(queue, kind) else self.kinds[kind][1].wait_seconds

    def _has_all_calls(self, kind: str) -> bool:
        definition, options = self.kinds[kind]
        if options.max_concurrent is None:
            return False
        now = time.monotonic()
        with self._lock:
            ready = sum(
                self.kinds[batch.kind][0] is definition and batch.is_ready(now) for batch in self._all()
            )
        return self._calls_of(definition) + ready >= options.max_concurrent


def _as_json(key: Hashable) -> str:
    try:
        return msgspec.json.encode(key).decode()
    except Exception as error:
        raise TypeError(f"by must give a JSON value if it names an argument, got {key!r}") from error

"""The queues of a client: a producer each, made, changed and retired as the settings and the rows say.

Nothing is stopped to change a queue. The fetcher takes the new set between two claims; a producer that is retired
claims no more, hands back what has not begun, and lets run what runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from django_river.conf import Config
from django_river.queue_choice import Choice
from django_river.queue_options import QueueConfig
from django_river.storage.base import Storage
from django_river.storage.queues import Removal
from django_river.work.autoscaler import Autoscaler
from django_river.work.completer import Completer
from django_river.work.fetcher import Fetcher
from django_river.work.lookout import Lookout
from django_river.work.outcomes import INTERRUPTED
from django_river.work.producer import Producer
from django_river.work.queue_plan import QueuePlan
from django_river.work.workers import Workers

logger = logging.getLogger(__name__)


class QueueSet:
    """All producers of one client. Written in the keeper's thread; pauses also come from the notifier's."""

    def __init__(self, *, config: Config, queues: Mapping[str, QueueConfig], choice: Choice) -> None:
        self.config = config
        self.plan = QueuePlan(config=config, named=queues, choice=choice)
        #: By name; replaced as a whole, so that whoever goes through it is not disturbed.
        self.producers: Mapping[str, Producer] = {
            name: Producer(name, config=options) for name, options in self.plan.wanted().items()
        }
        #: Set by the client, which builds them after us.
        self.lookout: Lookout
        self.fetcher: Fetcher
        self.workers: Workers
        self.completer: Completer
        #: Called with a leader-bound producer that has come while we may be leading.
        self.on_leader_bound: Callable[[Producer], None] = lambda producer: None

        # Of the rows that we go by.
        self._digest = ""
        self._retired: list[Producer] = []
        self._scalers: dict[str, Autoscaler] = {}
        # What we have last said of ourselves.
        self._said = ""

    @property
    def slots(self) -> int:
        """How many jobs the client works at once."""
        return self.config.slots_for({name: producer.config for name, producer in self.producers.items()})

    @property
    def leader_bound(self) -> Sequence[Producer]:
        """The producers that only the leader works, those included that are retired and still run jobs."""
        everyone = [*self.producers.values(), *self._retired]
        return [producer for producer in everyone if producer.is_leader_bound]

    def is_leader_bound(self, name: str) -> bool:
        """Whether only the leader works a queue that we know."""
        producer = self.producers.get(name)
        return producer is not None and producer.is_leader_bound

    def look(self, storage: Storage) -> set[str]:
        """Read the rows if any has changed, and go by them; the queues that have come or gone."""
        self.plan.look(storage)
        if self.plan.digest == self._digest:
            return set()
        changed = self._apply(storage)
        self._digest = self.plan.digest
        return changed

    def find(self, storage: Storage, names: Collection[str]) -> set[str]:
        """Queues that have jobs: those that match a pattern of the settings are worked from now on."""
        return self._apply(storage) if self.plan.find(names) else set()

    def set_paused(self, name: str, *, is_paused: bool) -> None:
        """Stop or resume claiming from a queue; what has not begun is handed back."""
        producer = self.producers.get(name)
        if producer is None or producer.is_paused == is_paused:
            return
        producer.is_paused = is_paused
        if is_paused:
            self._hand_back(producer)
        else:
            self.lookout.hint([name])

    @property
    def is_scaled(self) -> bool:
        """Whether any queue moves its number of workers by itself."""
        return any(producer.config.autoscale is not None for producer in self.producers.values())

    def scale(self, storage: Storage, *, now: float) -> None:
        """Let queues have as many workers as what waits asks for; ``now`` is monotonic."""
        scaled = {name: one for name, one in self.producers.items() if one.config.autoscale is not None}
        for name, available, waiting_seconds in storage.queue_backlogs(list(scaled)):
            producer = scaled[name]
            rule = producer.config.autoscale
            scaler = self._scalers.get(name)
            if rule is None:
                continue
            if scaler is None or scaler.rule != rule:
                scaler = self._scalers[name] = Autoscaler(rule, workers=producer.max_workers)
            workers = scaler.decide(
                now, running=producer.running, available=available, waiting_seconds=waiting_seconds
            )
            if workers != producer.max_workers:
                logger.info("queue %s has %d workers from now on", name, workers)
                producer.resize(workers)
                self.lookout.hint([name])

    def say(self, storage: Storage, client_id: str) -> None:
        """Write down what we work and by which rows, if that has changed."""
        applied = {
            name: {"slots": producer.max_workers, "version": self.plan.version(name)}
            for name, producer in sorted(self.producers.items())
        }
        said = json.dumps(applied)
        if said != self._said:
            storage.queue_apply(client_id, said)
            self._said = said

    def say_again(self) -> None:
        """Our row may have been lost and made anew: the next time, say it though nothing has changed."""
        self._said = ""

    def _apply(self, storage: Storage) -> set[str]:
        """Make the set what it should be; the queues that have come or gone."""
        wanted = self.plan.wanted()
        coming = self._coming(storage, sorted(wanted.keys() - self.producers.keys()), wanted)
        producers = {}
        for name, config in wanted.items():
            producer = self.producers.get(name) or coming[name]
            if producer.config != config:
                producer.apply(config)
                producer.may_have_work = True
            row = self.plan.rows.get(name)
            producer.is_retired = row is not None and bool(row.removal) and row.removal != Removal.DRAIN
            if producer.is_retired:
                self._hand_back(producer)
            producers[name] = producer
        before, self.producers = self.producers, producers
        self._retire([producer for name, producer in before.items() if name not in producers])
        self._scalers = {name: one for name, one in self._scalers.items() if name in producers}
        self._tell()
        return set(before.keys() ^ producers.keys())

    def _coming(
        self, storage: Storage, names: Sequence[str], wanted: Mapping[str, QueueConfig]
    ) -> dict[str, Producer]:
        """Producers of queues that come: those of which jobs still run come back. None claims before its pause is known."""
        paused = {row.name for row in storage.queue_list(names) if row.is_paused} if names else set()
        back = {producer.name: producer for producer in self._retired if producer.load}
        coming = {}
        for name in names:
            producer = coming[name] = back.get(name) or Producer(name, config=wanted[name])
            producer.is_paused = name in paused
            logger.debug("queue %s is worked from now on", name)
        self._retired = [producer for producer in self._retired if producer.name not in coming]
        return coming

    def _retire(self, producers: Sequence[Producer]) -> None:
        for producer in producers:
            logger.debug("queue %s is worked no more", producer.name)
            producer.is_retired = True
            self._hand_back(producer)
        self._retired = [producer for producer in (*self._retired, *producers) if producer.load]

    def _hand_back(self, producer: Producer) -> None:
        for attempt in producer.take_waiting():
            self.workers.settle(attempt, INTERRUPTED)

    def _tell(self) -> None:
        slots = self.slots
        self.workers.resize(slots)
        self.completer.makes_room_in = frozenset(
            name
            for name, producer in self.producers.items()
            if producer.config.global_max_workers is not None
        )
        for producer in self.leader_bound:
            self.on_leader_bound(producer)
        self.fetcher.adopt(self.producers, slots=slots)

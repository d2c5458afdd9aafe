"""What a client does for jobs that run long: watches over them, feels their pulse, counts faults, samples run times."""

from __future__ import annotations

from django_river.conf import Config
from django_river.jobs.registry import Registry
from django_river.work.attempts import Attempts
from django_river.work.completer import Completer
from django_river.work.fault_log import FaultLog
from django_river.work.keeper import Keeper
from django_river.work.pulse import Pulse
from django_river.work.run_times import RunTimes
from django_river.work.watch import Watch
from django_river.work.workers import Workers

SUMMONS = "look for summons"


class LongJobs:
    """Builds those parts, and hands their duties to the keeper. Wiring; no loop, no query."""

    def __init__(
        self,
        *,
        client_id: str,
        config: Config,
        registry: Registry,
        keeper: Keeper,
        attempts: Attempts,
        workers: Workers,
        completer: Completer,
    ) -> None:
        self.keeper = keeper
        self.watch = Watch(storage=keeper.storage, client_id=client_id, attempts=attempts, workers=workers)
        self.faults = FaultLog(storage=keeper.storage, client_id=client_id, registry=registry)
        self.run_times = RunTimes(storage=keeper.storage)
        #: How often jobs have promised to give a sign of life.
        self.promises = workers.executor.promises
        self.pulse = Pulse(
            storage=keeper.storage,
            client_id=client_id,
            attempts=attempts,
            registry=registry,
            promises=self.promises,
            faults=self.faults,
            interval=config.progress_interval,
            grace=config.stuck_after,
            give_up=workers.give_up_stuck,
        )
        workers.executor.on_timeout = self.faults.note_timeout
        completer.on_stored = self.run_times.note

    def take_on(self) -> None:
        """Hand the duties to the keeper."""
        self.keeper.add("look after jobs", self.watch.look)
        self.keeper.add(SUMMONS, self.watch.look_for_summons)
        self.keeper.add("feel the pulse", self.pulse.feel)
        self.keeper.add("store progress", self.pulse.store)
        self.keeper.add("count faults", self.faults.store)
        self.keeper.add("sample run times", self.run_times.store)

    def flush(self) -> None:
        """Store what has been counted so far; after the keeper has ended.

        Raises Django's database errors.
        """
        self.faults.store()
        self.run_times.store()

    def hear_loss(self) -> None:
        """Some of our jobs may have been taken from us, or others may have asked us to stop some."""
        self.keeper.hurry(SUMMONS)

"""The base of the leader's services."""

from __future__ import annotations

from abc import abstractmethod
from threading import Lock

from django_river.maintenance.batch_size import BatchSize
from django_river.service import Service
from django_river.storage.upkeep import Upkeep

#: What is in no hurry rests so many times as long as it worked: it takes a twentieth of the time.
REST = 19.0


class Chore(Service):
    """Does :meth:`run_once` again and again, as long as the term lasts.

    Several share a connection, each run under their ``lock``. All that belongs to a term, this object and the
    connection too, ends with it: nothing is shared with the next.
    """

    def __init__(self, name: str, *, upkeep: Upkeep, lock: Lock) -> None:
        super().__init__(name)
        self.upkeep = upkeep
        self.lock = lock

        self.batch = BatchSize()

    @abstractmethod
    def run_once(self) -> float:
        """Do a batch; answer in how many seconds to do the next."""

    def step(self) -> float:
        with self.lock:
            # We may have been told to end while we waited for the others.
            return 0.0 if self.is_stopping else self.run_once()

    def cleanup(self) -> None:
        # Another one may still need it, and opens it again.
        with self.lock:
            self.upkeep.close()

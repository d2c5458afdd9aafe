"""Builds the indexes of the job table anew, once a day, at the quiet hour that the settings name."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from django.db import DatabaseError

from django_river.maintenance.chore import Chore
from django_river.storage.upkeep import Upkeep

logger = logging.getLogger(__name__)

#: How long one index may take, in seconds.
TIMEOUT = 3600.0


class Reindexer(Chore):
    """One index after the other, without blocking anybody; what was left half-done, by whomever, is dropped first.

    Needs a connection of its own, which it has open only while it works.
    """

    def __init__(self, *, upkeep: Upkeep, lock: Lock, at: dt.time) -> None:
        super().__init__("reindexer", upkeep=upkeep, lock=lock)
        self.at = at

        self._due_at: float | None = None
        # Read by whoever stops us: whether there is a statement that waits for all others, and that he must not wait for.
        self._is_at_work = False

    def run_once(self) -> float:
        """Wait for the hour; then build."""
        try:
            if self._due_at is None:
                # With the term: a leader before us may have been stopped in the middle.
                self._drop_leftovers()
                self._due_at = time.monotonic() + self.upkeep.index_seconds_until(self.at)
            elif time.monotonic() >= self._due_at:
                self.rebuild()
                self._due_at = time.monotonic() + self.upkeep.index_seconds_until(self.at)
        finally:
            self.upkeep.close()
        return max(0.0, self._due_at - time.monotonic())

    def rebuild(self) -> None:
        """Build each index anew; one that cannot be is left as it is."""
        self._drop_leftovers()
        for name in self.upkeep.index_list():
            if self.is_stopping or not self.upkeep.leader_lasts():
                return
            self._rebuild_one(name)

    def interrupt(self) -> None:
        if self._is_at_work:
            self.upkeep.cancel()

    def _rebuild_one(self, name: str) -> None:
        try:
            with self._at_work():
                self.upkeep.index_rebuild(name)
        except DatabaseError as error:
            if self.is_stopping:
                # What we leave is for the next leader to drop.
                return
            logger.warning("index %s could not be rebuilt: %s", name, error)
            self._drop_leftovers()

    def _drop_leftovers(self) -> None:
        for name in self.upkeep.index_leftovers():
            if self.is_stopping:
                return
            logger.info("index %s was left half-built: it is dropped", name)
            try:
                with self._at_work():
                    self.upkeep.index_drop(name)
            except DatabaseError:
                if not self.is_stopping:
                    raise

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._is_at_work = True
        try:
            yield
        finally:
            self._is_at_work = False

"""Which queues a process is to work, and by which settings: those of the project, and what rows say at run time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from django_river.conf import Config
from django_river.queue_choice import Choice
from django_river.queue_options import QueueConfig, said
from django_river.storage.base import Storage
from django_river.storage.queues import QueueRow


class QueuePlan:
    """Follows the rows. Knows nothing of who works the queues, and so can be asked before anybody does."""

    def __init__(self, *, config: Config, named: Mapping[str, QueueConfig], choice: Choice) -> None:
        self.config = config
        #: Of the settings, as they were chosen.
        self.named = named
        self.choice = choice

        #: What is said at run time, by queue; and a text that is another one when any of that has changed.
        self.rows: Mapping[str, QueueRow] = {}
        self.digest = ""
        # What holds by the version of the row.
        self._configs: dict[str, tuple[str, QueueConfig]] = {}
        # Those that match a pattern of the settings, and have been seen to have jobs.
        self._found: set[str] = set()

    @property
    def has_removals(self) -> bool:
        """Whether a queue is being removed, or has been of late."""
        return any(row.removal for row in self.rows.values())

    def look(self, storage: Storage) -> None:
        """Read the rows if any has changed."""
        digest = storage.queue_row_digest()
        if digest != self.digest:
            self.rows = {row.name: row for row in storage.queue_row_list()}
            self.digest = digest

    def find(self, names: Collection[str]) -> bool:
        """Queues that have jobs: those that match a pattern of the settings belong to us; whether any is new."""
        layers = self.config.queue_layers
        new = {
            name
            for name in names
            if name not in self._found
            and name not in self.named
            and name not in self.rows
            and layers.has_pattern_for(name)
        }
        self._found |= new
        return bool(new)

    def wanted(self) -> dict[str, QueueConfig]:
        """The queues to be worked, by name."""
        wanted = {}
        for name in sorted({*self.named, *self.rows, *self._found}):
            row = self.rows.get(name)
            if row is not None and row.is_removed:
                continue
            config = self._config(name, row)
            if (name in self.named or self.choice.takes(name)) and config.is_for(self.config.labels):
                wanted[name] = config
        return wanted

    def version(self, name: str) -> str:
        """That of a queue's row, and empty without one."""
        row = self.rows.get(name)
        return "" if row is None else row.version

    def _config(self, name: str, row: QueueRow | None) -> QueueConfig:
        version = self.version(name)
        known = self._configs.get(name)
        if known is None or known[0] != version:
            known = self._configs[name] = version, self._made(name, row)
        return known[1]

    def _made(self, name: str, row: QueueRow | None) -> QueueConfig:
        given = {} if row is None else said(row.settings)
        own = self.named.get(name)
        return self.config.queue(name, given) if own is None else replace(own, **given)

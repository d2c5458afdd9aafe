"""Which jobs have promised to give signs of life, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_river.exceptions import JobStuck
from django_river.jobs.definition import Definition, seconds

#: For a job that promises heartbeats as often as the settings say, where they say nothing.
DEFAULT_SECONDS = 60.0


class Promises:
    """What the settings say of a kind comes first, then what its definition says, then the settings for a priority."""

    def __init__(self, heartbeats: Mapping[int | str, float]) -> None:
        self.heartbeats = heartbeats

    def of(self, definition: Definition[..., Any], priority: int) -> float | None:
        """The longest silence in seconds that such a job has promised; ``None`` if it has promised nothing."""
        by_kind = self.heartbeats.get(definition.kind)
        if by_kind is not None:
            return by_kind
        options = definition.options
        if options.heartbeat is None:
            return self._by_priority(priority) if options.auto_heartbeat else None
        return self._by_priority(priority) if options.heartbeat is True else seconds(options.heartbeat)

    def broken(self, definition: Definition[..., Any], priority: int) -> JobStuck:
        """What an attempt has failed with that broke its promise."""
        return JobStuck(f"gave no sign of life for {self.of(definition, priority) or 0:g} s")

    def _by_priority(self, priority: int) -> float:
        return self.heartbeats.get(priority, DEFAULT_SECONDS)

"""The settings about jobs that take long: signs of life, what is too long, processes of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django_river.option import Option, is_int, is_seconds, optional, seconds

MEGABYTE = 1 << 20

ISOLATION_OPTIONS = (
    Option(
        "PROCESSES", 4, "an int from 1 to 1000", is_int(1, 1000),
        "Processes for isolated jobs that one client has at once.",
    ),
    Option(
        "MEMORY", None, "an int from 33554432, or None", optional(is_int(32 * MEGABYTE)),
        "Bytes that such a process may allocate; beyond it, Python raises `MemoryError`. None is no bound.",
    ),
)  # fmt: skip

ADAPTIVE_OPTIONS = (
    Option(
        "FLOOR", 300, "seconds or a timedelta above 0", is_seconds,
        "No job is suspicious that has run for less.",
    ),
    Option(
        "FACTOR", 3, "a number from 1", lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v >= 1,
        "A job is suspicious that has run for so many times what 99 of 100 jobs of its kind take.",
    ),
    Option(
        "SAMPLES", 20, "an int from 20", is_int(20),
        "With fewer finished jobs of a kind, none of it is suspicious.",
    ),
    Option(
        "POLICY", "flag", "'flag', 'cancel', 'rescue' or 'ignore'", lambda v: v in {"flag", "cancel", "rescue", "ignore"},
        "What becomes of a suspicious job: it is only flagged, or cancelled, or tried again.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveConfig:
    """``ADAPTIVE_RESCUE``. Spans are in seconds."""

    floor: float = 300.0
    factor: float = 3.0
    samples: int = 20
    policy: str = "flag"


def adaptive(raw: Mapping[str, Any]) -> AdaptiveConfig:
    """``ADAPTIVE_RESCUE`` as the client has it."""
    values = {key.lower(): value for key, value in raw.items()}
    if "floor" in values:
        values["floor"] = seconds(values["floor"])
    return AdaptiveConfig(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationConfig:
    """``ISOLATION``."""

    processes: int = 4
    memory: int | None = None


def is_heartbeats(value: Any) -> bool:
    """Whether this is a mapping of priorities and kinds to spans."""
    return isinstance(value, Mapping) and all(
        (key in {1, 2, 3, 4} and not isinstance(key, bool) if not isinstance(key, str) else key)
        and is_seconds(span)
        for key, span in value.items()
    )


def heartbeats(raw: Mapping[int | str, Any]) -> dict[int | str, float]:
    """``HEARTBEATS`` in seconds."""
    return {key: seconds(span) for key, span in raw.items()}


def isolation(raw: Mapping[str, Any]) -> IsolationConfig:
    """``ISOLATION`` as the client has it."""
    return IsolationConfig(**{key.lower(): value for key, value in raw.items()})

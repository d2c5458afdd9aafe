"""The settings about who may lead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django_river.option import (
    Option,
    Problem,
    is_bool,
    is_int,
    is_labels,
    is_seconds,
    option_problems,
    optional,
)

ELECTION_OPTIONS = (
    Option(
        "CANDIDATE", True, "a bool", is_bool,
        "Whether this process may lead at all.",
    ),
    Option(
        "REQUIRE", {}, "a dict of str to str", is_labels,
        "Labels that a process must have to lead.",
    ),
    Option(
        "PREFERENCE", 0, "an int from -1000 to 1000", is_int(-1000, 1000),
        "A leader yields to a living candidate with a higher number.",
    ),
    Option(
        "MINIMUM_TERM", 60, "seconds or a timedelta, 0 or more", lambda v: is_seconds(v, zero=True),
        "How long a leader leads before it yields to one that is preferred.",
    ),
    Option(
        "POLICY", None, "the dotted path of a class, or None", optional(lambda v: isinstance(v, str) and "." in v),
        "A class of yours that decides instead of `REQUIRE` and `PREFERENCE`.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElectionConfig:
    """``LEADER_ELECTION``. Spans are in seconds."""

    candidate: bool = True
    require: Mapping[str, str] = field(default_factory=dict)
    preference: int = 0
    minimum_term: float = 60.0
    policy: str | None = None


def election_problems(election: Mapping[Any, Any], *, where: str) -> Iterator[Problem]:
    """What is wrong with ``LEADER_ELECTION``."""
    yield from option_problems(election, ELECTION_OPTIONS, where=where)
    beside = sorted({"REQUIRE", "PREFERENCE"} & set(election))
    if election.get("POLICY") is not None and beside:
        yield Problem(
            "E020",
            f"{where} has POLICY and {' and '.join(beside)}, which only the policy of the settings reads.",
            "Leave one out, or let your policy read it from somewhere else.",
        )

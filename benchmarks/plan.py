"""What a scenario is made of: who runs in it, and what is asked of the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

#: What one run of one contestant has shown: "jobs/s" → 31000.0.
Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller chose. All sizes follow from ``jobs``: that of a burn-down."""

    jobs: int = 100_000
    rounds: int = 5
    peers: tuple[str, ...] = ()

    def share(self, part: float, *, least: int = 20) -> int:
        """A number of jobs that stands in a proportion to that of a burn-down."""
        return max(least, int(self.jobs * part))

    def seconds(self, full: float) -> float:
        """A time to measure for: shorter in a run with few jobs, which only shows that all works."""
        return full if self.jobs >= 10_000 else min(full, 1.0)


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who runs once in every round."""

    name: str
    run: Callable[[], Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a figure must reach, by itself or as a ratio to another's inside the same round."""

    text: str
    of: str
    figure: str
    over: str | None = None
    #: The other's figure, if it is not the same.
    over_figure: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def value(self, done: Mapping[str, Figures]) -> float | None:
        """The figure or the ratio in one round; none if somebody has not run."""
        mine = done.get(self.of, {}).get(self.figure)
        if self.over is None or mine is None:
            return mine
        other = done.get(self.over, {}).get(self.over_figure or self.figure)
        return mine / other if other else None

    def is_reached_by(self, value: float) -> bool | None:
        """Whether a value is good enough; none if nothing is asked, and it is only shown."""
        if self.at_least is not None:
            return value >= self.at_least
        return None if self.at_most is None else value <= self.at_most


@dataclass(frozen=True, slots=True)
class Plan:
    """Who runs, in what order, and what is asked of them."""

    contestants: list[Contestant]
    demands: list[Demand] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One question."""

    name: str
    question: str
    plan: Callable[[Options], Plan]
    #: Not more rounds than this, where one takes minutes.
    most_rounds: int = 1000

"""How long jobs of a kind take, learnt from a bounded sample; and what is suspiciously longer. Pure.

Exact percentiles over a sample, no sketch: a few thousand numbers per kind are sorted in a millisecond, they can be
read by anybody, and what is forgotten is decided by a rule that stands in one statement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

DAY = 86_400.0
#: So many samples of a kind are kept for each of the last 24 hours; and of what is older, so many, for no longer than this.
KEPT_PER_HOUR = 100
KEPT_OLDER = 100
KEPT_FOR_DAYS = 30
PERCENTILE = 0.99
#: What part of the attempts must have been cut off before it is taken for a change.
MANY = 0.2


class Sample(NamedTuple):
    """A finished attempt."""

    #: Seconds ago that it ended.
    age: float
    #: How long it took.
    seconds: float
    #: Whether it had not ended by then, but was rescued because it took so long.
    was_cut_off: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """What makes a job suspicious: it has run for ``factor`` times what 99 of 100 of its kind take, and for ``floor``."""

    floor: float = 300.0
    factor: float = 3.0
    #: With fewer samples nothing is suspicious.
    samples: int = 20

    def limit(self, samples: Sequence[Sample]) -> float | None:
        """From how many seconds on a job is suspicious; ``None`` if too little is known.

        The last day counts, so that new behaviour is learnt within one; what is older only where a day has too few.
        """
        recent = [sample for sample in samples if sample.age < DAY]
        known = _believed(recent if len(recent) >= self.samples else samples)
        if len(known) < self.samples:
            return None
        return max(self.floor, self.factor * percentile(known, PERCENTILE))


def _believed(samples: Sequence[Sample]) -> list[float]:
    """A few that were cut off were hanging, and say nothing of the kind; if they are many, it has become slower."""
    ended = [sample.seconds for sample in samples if not sample.was_cut_off]
    cut_off = [sample.seconds for sample in samples if sample.was_cut_off]
    return ended + cut_off if len(cut_off) > MANY * len(samples) else ended


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that ``part`` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def is_exempt(options: Any, *, promised: float | None) -> bool:
    """Whether a kind is never suspicious: it gives signs of life, which say more than any history."""
    return promised is not None or options.on_suspicious == "ignore"

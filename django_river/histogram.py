"""How long things took, as counts of spans that are about alike: small, and put together by adding."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat

import msgspec

#: The shortest span that is told from none, in seconds; each place reaches a quarter further than the one before.
SHORTEST = 0.001
STEP = 1.25
LAST = 96
_REACHES = [SHORTEST * STEP**place for place in range(LAST)]

_DECODER = msgspec.json.Decoder(dict[int, int])

Histogram = Counter[int]


def place(seconds: float) -> int:
    """Where a span is counted."""
    return bisect_left(_REACHES, seconds)


def places(spans: Iterable[float]) -> Iterator[int]:
    """Where each of these is counted; without a call of Python for each."""
    return map(bisect_left, repeat(_REACHES), spans)


def reach(place: int) -> float:
    """The longest span that is counted there, in seconds."""
    return SHORTEST * STEP**place


def percentile(counts: Mapping[int, int], part: float) -> float | None:
    """So large a part of all is not longer than this, which is at most a quarter too much; ``None`` without any."""
    total = sum(counts.values())
    if not total:
        return None
    seen = 0
    for at in sorted(counts):
        seen += counts[at]
        if seen >= part * total:
            return reach(at)
    return reach(max(counts))


def encoded(counts: Mapping[int, int]) -> dict[str, int]:
    """For JSON."""
    return {str(at): count for at, count in sorted(counts.items())}


def decoded(raw: str) -> Mapping[int, int]:
    """From JSON as text: to be read of each queue, client and minute, so no more is made of it than a dict."""
    return _DECODER.decode(raw)

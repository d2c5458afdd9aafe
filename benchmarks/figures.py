"""Statistics: medians with their range, percentiles, and whether a demand is reached."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.plan import Demand, Figures

Round = Mapping[str, Figures]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median with its range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest value that at least this part of all does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def latencies(seconds: Sequence[float]) -> dict[str, float]:
    """The percentiles people ask for, in milliseconds."""
    return {f"p{part} ms": 1000 * percentile(seconds, part / 100) for part in (50, 95, 99)}


def summary(rounds: Sequence[Round]) -> dict[str, dict[str, dict[str, float]]]:
    """Contestant → figure → spread over all rounds in which it ran."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for done in rounds:
        for name, figures in done.items():
            for figure, value in figures.items():
                gathered.setdefault(name, {}).setdefault(figure, []).append(value)
    return {
        name: {figure: spread(values) for figure, values in figures.items()}
        for name, figures in gathered.items()
    }


def judged(demand: Demand, rounds: Sequence[Round]) -> dict[str, Any]:
    """A demand with what it came to: each ratio is taken inside its round, then their median counts."""
    values = [value for done in rounds if (value := demand.value(done)) is not None]
    verdict: dict[str, Any] = {
        "text": demand.text,
        "is_ratio": demand.over is not None,
        "at_least": demand.at_least,
        "at_most": demand.at_most,
    }
    if values:
        verdict |= spread(values)
        verdict["is_reached"] = demand.is_reached_by(verdict["median"])
    return verdict

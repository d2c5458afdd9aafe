"""Medians, percentiles, and what becomes of a demand over several rounds."""

from __future__ import annotations

import pytest

from benchmarks.figures import judged, latencies, percentile, spread, summary
from benchmarks.plan import Demand, Options


def rounds(*pairs: tuple[float, float]) -> list[dict[str, dict[str, float]]]:
    return [{"ours": {"jobs/s": ours}, "raw": {"jobs/s": raw}} for ours, raw in pairs]


def test_a_spread_is_median_least_and_most():
    assert spread([3, 1, 2, 10]) == {"median": 2.5, "min": 1, "max": 10}


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.95, 95), (0.99, 99), (1, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(part, expected):
    assert percentile([*range(100, 0, -1)], part) == expected


def test_latencies_are_in_milliseconds():
    assert latencies([0.001] * 90 + [0.004] * 9 + [0.1]) == {"p50 ms": 1, "p95 ms": 4, "p99 ms": 4}


def test_a_ratio_is_taken_inside_its_round():
    demand = Demand(text="", of="ours", figure="jobs/s", over="raw", at_least=0.65)

    # The machine slowed to a tenth: over all rounds together ours would look better than in any of them.
    verdict = judged(demand, rounds((60, 100), (6, 10), (7, 10)))

    assert (verdict["median"], verdict["min"], verdict["max"]) == (0.6, 0.6, 0.7)
    assert verdict["is_reached"] is False


@pytest.mark.parametrize(
    ("limits", "value", "expected"),
    [
        ({"at_least": 2}, 2, True),
        ({"at_least": 2}, 1.9, False),
        ({"at_most": 2}, 2, True),
        ({"at_most": 2}, 2.1, False),
        ({}, 2, None),
    ],
)
def test_the_limit_itself_is_good_enough(limits, value, expected):
    assert Demand(text="", of="ours", figure="jobs/s", **limits).is_reached_by(value) is expected


def test_a_round_without_the_other_does_not_count():
    demand = Demand(text="", of="ours", figure="jobs/s", over="raw", at_least=1)

    verdict = judged(demand, [{"ours": {"jobs/s": 5}}, *rounds((4, 2)), {}])

    assert (verdict["median"], verdict["min"], verdict["max"]) == (2, 2, 2)


def test_nothing_is_reached_by_who_never_ran():
    verdict = judged(Demand(text="", of="ours", figure="jobs/s", at_least=1), [{}])

    assert "median" not in verdict
    assert "is_reached" not in verdict


def test_a_summary_leaves_out_rounds_in_which_somebody_failed():
    shown = summary([*rounds((1, 2), (3, 4)), {"ours": {"jobs/s": 5}}])

    assert shown["ours"]["jobs/s"] == {"median": 3, "min": 1, "max": 5}
    assert shown["raw"]["jobs/s"] == {"median": 3, "min": 2, "max": 4}


def test_sizes_are_in_proportion_and_never_too_small():
    assert Options(jobs=100_000).share(0.05) == 5000
    assert Options(jobs=100).share(0.05) == 20

"""What is suspiciously long: learnt from samples, and compared with fixed limits over thirty simulated days."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from django_river.jobs.run_times import DAY, KEPT_OLDER, KEPT_PER_HOUR, Sample, Suspicion, percentile
from tests.pages import table

HOUR = 3600.0
MINUTE = 60.0


class TestPercentile:
    @pytest.mark.parametrize(("part", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
    def test_is_one_of_the_values(self, part, value):
        assert percentile(list(range(100, 0, -1)), part) == value

    def test_of_one_value_is_that(self):
        assert percentile([7.0], 0.99) == 7.0


class TestLimit:
    def test_is_a_multiple_of_the_percentile(self):
        samples = [Sample(age=10.0, seconds=float(n)) for n in range(1, 1001)]

        assert Suspicion(floor=60, factor=3).limit(samples) == 3 * 990

    def test_is_never_below_the_floor(self):
        assert Suspicion(floor=300, factor=3).limit([Sample(10.0, 0.01)] * 100) == 300

    def test_is_not_moved_by_a_few_that_hung_but_by_many(self):
        ended, cut_off = [Sample(10.0, 100.0)] * 80, [Sample(10.0, 400.0, was_cut_off=True)]

        assert Suspicion(floor=1).limit([*ended, *cut_off * 20]) == 300
        assert Suspicion(floor=1).limit([*ended, *cut_off * 21]) == 1200

    @pytest.mark.parametrize(("count", "limit"), [(0, None), (19, None), (20, 300)])
    def test_is_unknown_with_too_few_samples(self, count, limit):
        assert Suspicion().limit([Sample(10.0, 1.0)] * count) == limit

    def test_forgets_what_was_usual_until_yesterday(self):
        old, new = [Sample(2 * DAY, 10 * HOUR)] * 100, [Sample(HOUR, MINUTE)] * 20

        assert Suspicion().limit([*old, *new]) == 300
        assert Suspicion().limit([*old, *new[:19]]) == 30 * HOUR


# The simulation. Jobs begin at even intervals; a few of them hang. Each policy sees the same jobs, and what it knows of
# finished ones is kept by the rule of ``run_time_clean``.


@dataclass
class Kind:
    """A kind of job: how often it runs, and how long it takes on which day."""

    every: float
    takes: Callable[[random.Random, float], float]
    #: One of so many hangs for ever.
    hangs: int = 200


#: A steady one; one that grows eightfold within a month; one that doubles overnight; one of two sorts; a rare one.
KINDS = {
    "steady, 10 min": Kind(10 * MINUTE, lambda r, day: r.lognormvariate(0, 0.3) * 10 * MINUTE),
    "drifts, 1 h to 8 h": Kind(HOUR, lambda r, day: r.lognormvariate(0, 0.2) * HOUR * 2 ** (day / 10)),
    "doubles on day 15": Kind(
        20 * MINUTE, lambda r, day: r.lognormvariate(0, 0.2) * (2 if day >= 15 else 1) * HOUR
    ),
    "bimodal, 5 s or 2 h": Kind(
        5 * MINUTE, lambda r, day: r.uniform(1.8, 2.2) * HOUR if r.random() < 0.05 else r.uniform(3, 7)
    ),
    "rare, 3 h": Kind(6 * HOUR, lambda r, day: r.lognormvariate(0, 0.2) * 3 * HOUR, hangs=10),
}
FIXED = {"fixed, 30 min": 30 * MINUTE, "fixed, 1 h": HOUR, "fixed, 12 h": 12 * HOUR}


@dataclass
class Tally:
    """How a policy did with one kind."""

    healthy: int = 0
    rescued_in_vain: int = 0
    detected_after: list[float] = field(default_factory=list)
    undetected: int = 0

    @property
    def false_rate(self) -> float:
        return self.rescued_in_vain / self.healthy

    @property
    def median_detection(self) -> float:
        return percentile(self.detected_after, 0.5) if self.detected_after else float("inf")


class Learner:
    """The samples of a kind, kept as the leader keeps them."""

    def __init__(self, chooser: random.Random) -> None:
        self.chooser = chooser
        # When each ended, after how long, and whether it was cut off.
        self.ended: list[tuple[float, float, bool]] = []
        self._limit: float | None = None
        self._learnt_at = -HOUR

    def limit_at(self, now: float) -> float | None:
        if now - self._learnt_at >= HOUR:
            self._clean(now)
            known = [Sample(now - at, seconds, cut) for at, seconds, cut in self.ended if at <= now]
            self._limit, self._learnt_at = Suspicion().limit(known), now
        return self._limit

    def _clean(self, now: float) -> None:
        self.ended.sort()
        hours: dict[float, list[tuple[float, float, bool]]] = {}
        for one in self.ended:
            hours.setdefault(one[0] // HOUR, []).append(one)
        kept = {
            one for some in hours.values() for one in self.chooser.sample(some, min(len(some), KEPT_PER_HOUR))
        }
        newest = set(self.ended[-KEPT_OLDER:])
        self.ended = [
            one for one in self.ended
            if one in kept and (now - one[0] < DAY or one in newest) and now - one[0] < 30 * DAY
        ]  # fmt: skip


def simulate(kind: Kind, fixed: float | None = None) -> Tally:
    """Thirty days; a rescue counts as in vain if the job would have ended by itself."""
    chooser, tally = random.Random(7), Tally()
    learner = Learner(random.Random(8))
    moment = 0.0
    while moment < 30 * DAY:
        moment += kind.every
        seconds = kind.takes(chooser, moment / DAY)
        is_hanging = chooser.randrange(kind.hangs) == 0
        limit = fixed if fixed is not None else learner.limit_at(moment)
        tally.healthy += not is_hanging
        if is_hanging:
            if limit is None:
                tally.undetected += 1
            else:
                tally.detected_after.append(limit)
                learner.ended.append((moment + limit, limit, True))
        elif limit is not None and seconds > limit:
            tally.rescued_in_vain += 1
            # What it had run for until then is remembered: if there are many such, it learns.
            learner.ended.append((moment + limit, limit, True))
        else:
            learner.ended.append((moment + seconds, seconds, False))
    return tally


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Tally]]:
    policies = {**FIXED, "adaptive": None}
    return {
        name: {policy: simulate(kind, fixed) for policy, fixed in policies.items()}
        for name, kind in KINDS.items()
    }


def shown(tally: Tally) -> str:
    found = "never" if tally.median_detection == float("inf") else f"{tally.median_detection / HOUR:.1f} h"
    return f"{100 * tally.false_rate:.2f} %, {found}"


class TestSimulation:
    @pytest.mark.parametrize("name", KINDS)
    def test_rarely_rescues_in_vain(self, results, name):
        assert results[name]["adaptive"].false_rate < 0.005

    def test_no_fixed_limit_suits_all(self, results):
        for policy, fixed in FIXED.items():
            worst = max(results[name][policy].false_rate for name in KINDS)
            slowest = fixed / results["steady, 10 min"]["adaptive"].median_detection
            assert worst > 0.02 or slowest > 8, policy

    def test_detects_within_a_few_times_what_the_kind_takes(self, results):
        assert results["steady, 10 min"]["adaptive"].median_detection < 1.5 * HOUR
        assert results["rare, 3 h"]["adaptive"].median_detection < 24 * HOUR

    def test_learns_new_behaviour_within_a_day(self):
        kind = Kind(20 * MINUTE, lambda r, day: (4 if day >= 15 else 1) * HOUR, hangs=10**9)
        chooser, learner, in_vain = random.Random(1), Learner(random.Random(2)), []
        for n in range(1, 72 * 30):
            moment = n * kind.every
            seconds, limit = kind.takes(chooser, moment / DAY), learner.limit_at(moment)
            is_rescued = limit is not None and seconds > limit
            took = limit if is_rescued else seconds
            learner.ended.append((moment + took, took, is_rescued))
            in_vain += [moment] if is_rescued else []

        assert in_vain
        assert max(in_vain) < 16 * DAY

    def test_is_what_the_table_in_the_docs_shows(self, results):
        rows = {row[0]: row[1:] for row in table("long-jobs", "A kind")}

        assert rows == {name: [shown(tally) for tally in some.values()] for name, some in results.items()}

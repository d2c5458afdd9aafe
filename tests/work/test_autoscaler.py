"""Workers follow what waits: up at once, down after a rest, and never to and fro."""

from __future__ import annotations

import itertools
import math

import pytest

from django_river.queue_options import Autoscale
from django_river.work.autoscaler import INTERVAL, LONGEST_REST_SECONDS, REST_SECONDS, Autoscaler

RULE = Autoscale(minimum=1, maximum=50, target_latency=1.0)


def idle(scaler, seconds, *, since=0.0, running=0):
    sizes = []
    for step in range(math.ceil(seconds / INTERVAL)):
        now = since + step * INTERVAL
        sizes.append(scaler.decide(now, running=running, available=0, waiting_seconds=0.0))
    return sizes


def test_begins_with_the_fewest():
    assert Autoscaler(RULE).workers == 1
    assert Autoscaler(RULE, workers=99).workers == 50


def test_grows_to_the_most_within_two_seconds_of_a_flood_that_is_late():
    scaler, now = Autoscaler(RULE), 0.0
    while scaler.workers < 50:
        now += INTERVAL
        scaler.decide(now, running=scaler.workers, available=1000, waiting_seconds=4 + now)

    assert now <= 2.0


def test_grows_before_the_target_is_missed():
    scaler = Autoscaler(RULE)

    assert scaler.decide(0.5, running=1, available=10, waiting_seconds=0.5) == 2
    assert scaler.decide(1.0, running=2, available=10, waiting_seconds=0.6) == 4


def test_grows_no_further_than_there_are_jobs():
    assert Autoscaler(RULE, workers=4).decide(0.5, running=4, available=1, waiting_seconds=9.0) == 5


def test_stays_while_jobs_wait_less_than_that():
    scaler = Autoscaler(RULE, workers=4)

    assert {scaler.decide(now, running=4, available=5, waiting_seconds=0.1) for now in range(60)} == {4}


def test_shrinks_after_a_rest_by_quarters():
    scaler = Autoscaler(RULE, workers=40)
    sizes = idle(scaler, 3 * REST_SECONDS)

    assert sizes[: int(REST_SECONDS / INTERVAL)] == [40] * int(REST_SECONDS / INTERVAL)
    assert sorted(set(sizes), reverse=True)[:2] == [40, 30]
    assert idle(scaler, 40 * REST_SECONDS, since=1000.0)[-1] == 1


@pytest.mark.parametrize(("running", "left"), [(20, 30), (35, 35)])
def test_keeps_what_the_busiest_moment_of_the_rest_has_used(running, left):
    scaler = Autoscaler(RULE, workers=40)
    idle(scaler, REST_SECONDS / 2, running=running)
    idle(scaler, REST_SECONDS / 2 + 2 * INTERVAL, since=REST_SECONDS / 2)

    assert scaler.workers == left


def test_does_not_flap_under_a_load_that_comes_in_waves():
    """Every four seconds 20 jobs come and are done within one: the number of workers settles."""
    scaler = Autoscaler(RULE, workers=20)
    sizes = []
    for step in range(400):
        busy = step % 8 < 2
        sizes.append(
            scaler.decide(step * INTERVAL, running=20 if busy else 0, available=0, waiting_seconds=0.0)
        )
    changes = sum(before != after for before, after in itertools.pairwise(sizes))

    assert changes == 0


def test_shrinks_though_a_few_jobs_wait_for_a_moment():
    scaler = Autoscaler(RULE, workers=4)
    for step in range(3 * int(REST_SECONDS)):
        scaler.decide(float(step), running=1, available=3, waiting_seconds=0.02)

    assert scaler.workers < 4


def steps(scaler, seconds, *, enough):
    """The numbers it tries where fewer than ``enough`` make jobs wait, and more are not told from them by who runs."""
    sizes, waiting = [], 0.0
    for step in range(math.ceil(seconds / INTERVAL)):
        waiting = waiting + INTERVAL if scaler.workers < enough else 0.0
        sizes.append(
            scaler.decide(step * INTERVAL, running=1, available=9 * (waiting > 0), waiting_seconds=waiting)
        )
    return sizes


def test_tries_ever_more_seldom_what_has_been_too_few():
    sizes = steps(Autoscaler(RULE, workers=2), 600, enough=2)
    tries = [at * INTERVAL for at, (one, other) in enumerate(itertools.pairwise(sizes)) if other < one]
    rests = [after - before for before, after in itertools.pairwise(tries)]

    assert 5 <= len(tries) <= 9
    assert rests == sorted(rests)
    assert max(rests) < LONGEST_REST_SECONDS + 5


def test_forgets_that_when_the_load_is_over():
    scaler = Autoscaler(RULE, workers=2)
    steps(scaler, 300, enough=2)
    idle(scaler, 6 * LONGEST_REST_SECONDS, since=300.0)
    scaler.decide(2000.0, running=1, available=9, waiting_seconds=1.0)
    assert scaler.workers == 2

    assert idle(scaler, 2 * REST_SECONDS, since=2001.0)[-1] == 1

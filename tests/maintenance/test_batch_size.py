"""Batches adapt: down when the database is slow or fails, up again when it is quick."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from django_river.maintenance import batch_size as module
from django_river.maintenance.batch_size import BatchSize


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def batch(clock):
    return BatchSize(1000, least=100, most=4000, seconds=0.1)


@pytest.fixture
def do(batch, clock):
    """Takes a batch, full unless said otherwise, in so many seconds."""

    def do(seconds, taken=None):
        with batch.timed():
            clock.now += seconds
            batch.taken = batch.size if taken is None else taken
        return batch.size

    return do


def test_halves_while_batches_take_too_long(do):
    assert [do(0.2) for _ in range(4)] == [500, 250, 125, 100]


def test_doubles_while_full_batches_are_quick(do):
    assert [do(0.01) for _ in range(3)] == [2000, 4000, 4000]


def test_comes_back_after_a_slow_time(do):
    for _ in range(9):
        do(0.3)

    assert [do(0.01) for _ in range(3)] == [200, 400, 800]


def test_stays_as_it_is_in_between(do):
    assert do(0.05) == 1000


def test_learns_nothing_from_a_small_batch_that_is_quick(do):
    assert do(0.001, taken=999) == 1000
    assert do(0.001, taken=0) == 1000


def test_learns_from_a_small_batch_that_is_slow(do):
    assert do(0.2, taken=0) == 500


def test_quarters_after_an_error_and_lets_it_pass(batch):
    with pytest.raises(RuntimeError, match="timeout"), batch.timed():
        raise RuntimeError("timeout")

    assert batch.size == 250


def test_forgets_what_the_last_batch_took(batch, do):
    do(0.05)
    with batch.timed():
        pass

    assert batch.size == 1000

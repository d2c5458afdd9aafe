"""Removals of queues are brought to their end by the leader, and by nobody who was the leader."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock
from types import SimpleNamespace

import pytest

from django_river import queues, storage
from django_river.maintenance import queue_remover as module
from django_river.maintenance.queue_remover import INTERVAL, QueueRemover
from django_river.models import Job, QueueRow
from django_river.storage.queues import Removal
from tests.factories import JobFactory


@pytest.fixture
def remover(upkeep, using):
    store = storage.storage_on(upkeep.session, using)
    remover = QueueRemover(upkeep=upkeep, lock=Lock(), storage=store, named=["default"])
    yield remover
    assert remover.stop(10)


@pytest.fixture
def close(store):
    """Begins removals, as another process does."""

    def close(name, how=Removal.DRAIN, to=""):
        store.queue_row_close(name, how, to)

    return close


def state(name="a"):
    row = QueueRow.objects.get(name=name)
    return row.removal, row.removed_at is not None


def in_queue(name, count, **given):
    JobFactory.create_batch(count, **({"available": True} | given), queue=name)


def run(remover):
    """Run until it has nothing to do; how many runs it took."""
    runs = 1
    while remover.run_once() < INTERVAL:
        runs += 1
    return runs


def test_does_nothing_without_a_removal(remover):
    queues.add("a")

    assert remover.run_once() == INTERVAL
    assert state() == ("", False)


def test_waits_until_the_last_job_is_gone(remover, close):
    close("a")
    in_queue("a", 1, running=True)
    run(remover)
    assert state() == ("drain", False)

    Job.objects.all().delete()
    run(remover)
    assert state() == ("drain", True)


@pytest.mark.parametrize(("how", "to"), [(Removal.MOVE, "b"), (Removal.DELETE, "")])
def test_clears_batch_by_batch_and_keeps_nobody_waiting(remover, close, how, to, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("django_river.queue_removal.BATCH", 2)
    for name in ("a", "c"):
        close(name, how, to)
        in_queue(name, 5)
    assert remover.run_once() == 0.0
    assert [Job.objects.filter(queue=name).count() for name in ("a", "c")] == [3, 3]
    run(remover)

    assert Job.objects.filter(queue="b").count() == (10 if to else 0)
    assert [state("a"), state("c")] == [(how, True)] * 2
    assert f"queue a is being removed: {how} of 2 jobs" in caplog.text


def test_looks_after_what_comes_late(remover, close):
    close("a", Removal.DRAIN)
    run(remover)
    in_queue("a", 1)
    run(remover)
    assert state() == ("drain", False)

    close("a", Removal.MOVE, "b")
    run(remover)
    assert (state(), Job.objects.get().queue) == (("move", True), "b")


def test_forgets_what_has_been_removed_for_long(remover, close, monkeypatch):
    monkeypatch.setattr(module, "KEPT_FOR", timedelta(seconds=-1))
    for name in ("a", "default"):
        close(name)
    run(remover)
    remover._prune_at = 0.0
    run(remover)

    assert list(QueueRow.objects.values_list("name", flat=True)) == ["default"]


@pytest.mark.parametrize("how", [Removal.MOVE, Removal.DELETE, Removal.DRAIN])
def test_changes_nothing_after_the_term(remover, close, begin, how, monkeypatch):
    monkeypatch.setattr(module, "KEPT_FOR", timedelta(seconds=-1))
    close("gone")
    run(remover)
    close("a", how, "b" if how == Removal.MOVE else "")
    in_queue("a", 2)
    close("empty")
    begin("another")
    remover._prune_at = 0.0
    run(remover)

    assert Job.objects.filter(queue="a").count() == 2
    assert (state("a"), state("empty"), state("gone")) == ((how, False), ("drain", False), ("drain", True))


def test_rests_in_proportion_to_its_work(remover, close, monkeypatch):
    clock = iter([0.0, 0.5, 0.5, 0.5])
    close("a")
    in_queue("a", 1)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    assert remover.run_once() == pytest.approx(0.5 * 19)

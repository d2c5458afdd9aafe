"""Duties: each at its own time, none keeping another from its turn."""

from __future__ import annotations

import re
import threading
from types import SimpleNamespace

import pytest

from django_river.service import Backoff
from django_river.work import keeper as module
from django_river.work.keeper import EARLY_SECONDS, Keeper
from tests.waiting import wait_until


class Session:
    """All that a keeper itself asks of its storage."""

    closed = 0

    def close(self):
        self.closed += 1


class Task:
    """A duty that counts, and answers or fails as it is told."""

    def __init__(self, pause=60.0, do=lambda: None):
        self.pause = pause
        self.do = do
        self.runs = 0

    def __call__(self):
        self.runs += 1
        self.do()
        return self.pause


@pytest.fixture
def keep():
    """Builds keepers with these duties, and stops them."""
    built = []

    def build(**tasks):
        keeper = Keeper(storage=Session())
        for name, task in tasks.items():
            keeper.add(name, task)
            keeper._duties[name].backoff = Backoff(first=0.01, longest=0.01)
        built.append(keeper)
        return keeper

    yield build
    for keeper in built:
        assert keeper.stop(10)


def test_does_each_duty_at_its_own_time(keep):
    often, seldom = Task(0.001), Task(60.0)
    keep(often=often, seldom=seldom).start()
    wait_until(lambda: often.runs >= 10)

    assert seldom.runs == 1


def test_does_what_is_nearly_due_along_with_what_is(keep, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    one, other, later = Task(0.5), Task(0.59), Task(0.7)
    keeper = keep(one=one, other=other, later=later)
    while (pause := keeper.step()) == 0.0:
        pass
    assert pause == pytest.approx(0.5)
    clock.now += pause
    while (pause := keeper.step()) == 0.0:
        pass

    assert pause == pytest.approx(0.2)
    assert (one.runs, other.runs, later.runs) == (2, 2, 1)


@pytest.mark.parametrize(("pause", "early"), [(60.0, EARLY_SECONDS), (0.1, 0.02), (0.0, 0.0)])
def test_what_comes_often_is_not_done_much_more_often_by_that(keep, pause, early):
    keeper = keep(task=Task(pause))
    keeper.step()
    duty = keeper._duties["task"]

    assert duty.due_at - duty.ready_at == pytest.approx(early)


def test_a_duty_that_has_just_been_done_is_not_done_at_once(keep):
    task = Task()
    keeper = keep()
    keeper.add("task", task, after=60.0)

    assert 59 < keeper.step() <= 60
    assert task.runs == 0


def test_a_duty_that_fails_does_not_delay_the_others(keep):
    bad, good = Task(do=lambda: 1 / 0), Task(0.001)
    keeper = keep(bad=bad, good=good)
    keeper._duties["bad"].backoff = Backoff(first=3600, longest=3600)
    keeper.start()
    wait_until(lambda: good.runs >= 10)

    assert bad.runs == 1


def test_a_duty_that_fails_is_tried_again_and_said_to_work_again(keep, caplog):
    def fail_twice():
        if task.runs <= 2:
            raise ValueError("away")

    caplog.set_level("INFO")
    task = Task(do=fail_twice)
    keep(beat=task).start()
    wait_until(lambda: "keeper: beat works again after 2 failures" in caplog.text)

    failures = [
        record for record in caplog.records if "beat failed, trying again in 0.0 s: away" in record.message
    ]
    assert [bool(record.exc_info) for record in failures] == [True, False]


def test_a_duty_that_fails_is_told_until_it_works_again(keep):
    heal = threading.Event()
    task = Task(do=lambda: heal.is_set() or 1 / 0)
    keeper = keep(beat=task, other=Task())
    keeper.start()
    wait_until(lambda: task.runs >= 2)
    assert re.fullmatch(r"beat failed (once|\d+ times in a row): division by zero", keeper.trouble)
    heal.set()

    wait_until(lambda: keeper.trouble == "")


def test_a_hurried_duty_is_done_at_once(keep):
    one, other = Task(), Task()
    keeper = keep(one=one, other=other)
    keeper.start()
    wait_until(lambda: one.runs == other.runs == 1)
    keeper.hurry("one")
    wait_until(lambda: one.runs == 2)

    assert other.runs == 1


def test_a_duty_that_is_hurried_while_it_is_done_is_done_again(keep):
    task = Task(do=lambda: task.runs == 1 and keeper.hurry("task"))
    keeper = keep(task=task)
    keeper.start()

    wait_until(lambda: task.runs == 2)


def test_a_hurry_is_not_lost_at_whatever_moment_it_comes(keep):
    task = Task()
    keeper = keep(task=task)
    keeper.start()
    for _ in range(50):
        before = task.runs
        keeper.hurry("task")
        wait_until(lambda before=before: task.runs > before)


def test_an_urgent_duty_goes_before_all_others(keep):
    order = []
    slow = [Task(do=lambda name=name: order.append(name)) for name in "abc"]
    urgent = Task(0.0, do=lambda: order.append("urgent"))
    keeper = keep(a=slow[0], b=slow[1], c=slow[2])
    keeper.add("urgent", urgent, is_urgent=True)
    slow[2].do = lambda: (order.append("c"), keeper.stop())
    urgent.do = lambda: (order.append("urgent"), setattr(urgent, "pause", 0.0 if len(order) < 3 else 60.0))
    keeper.start()
    wait_until(lambda: not keeper.is_running)

    assert order == ["urgent"] * 3 + ["a", "b", "c"]


def test_an_urgent_duty_waits_for_one_other_at_most(keep):
    order = []
    keeper = keep()
    tasks = {name: Task(do=lambda name=name: (order.append(name), keeper.hurry("urgent"))) for name in "abc"}
    for name, task in tasks.items():
        keeper.add(name, task)
    keeper.add("urgent", Task(do=lambda: order.append("urgent")), is_urgent=True)
    keeper.start()
    wait_until(lambda: len(order) == 7)

    assert order == ["urgent", "a", "urgent", "b", "urgent", "c", "urgent"]


def test_a_stop_ends_the_round(keep):
    first, second = Task(), Task()
    keeper = keep(first=first, second=second)
    first.do = keeper.stop
    keeper.start()
    wait_until(lambda: not keeper.is_running)

    assert (first.runs, second.runs) == (1, 0)


def test_closes_its_storage_at_the_end(keep):
    keeper = keep(task=Task())
    keeper.start()
    keeper.stop()

    assert keeper.storage.closed == 1

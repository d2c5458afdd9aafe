"""When to look for jobs, and in which queues."""

from __future__ import annotations

import time

import pytest

from django_river.work import lookout as module
from django_river.work.attempts import Attempts
from django_river.work.lookout import Lookout
from django_river.work.producer import Producer
from tests.factories import JobFactory
from tests.waiting import wait_until
from tests.work.building import attempt_at


def build(*queues, storage=None, poll_interval=3600.0):
    """A lookout that has just polled, and notes when it wakes the fetcher."""
    lookout = Lookout(
        storage=storage,
        producers=producers_of(*(queues or ("default",))),
        attempts=Attempts(),
        poll_interval=poll_interval,
    )
    lookout.woken = []
    lookout.wake = lambda: lookout.woken.append(1)
    lookout._poll_at = time.monotonic() + poll_interval
    forget(lookout)
    return lookout


def producers_of(*queues):
    return {name: Producer(name) for name in queues}


def forget(lookout):
    """As after claims that found nothing."""
    for producer in lookout.producers.values():
        producer.may_have_work = producer.bookmark.has_news = False


def marked(lookout):
    return [name for name, producer in lookout.producers.items() if producer.may_have_work]


def look(lookout):
    lookout.look()
    return marked(lookout)


class TestHint:
    def test_marks_its_queues_and_wakes_the_fetcher(self):
        lookout = build("a", "b", "c")
        lookout.hint(["a", "c"])

        assert (marked(lookout), lookout.woken) == (["a", "c"], [1])
        assert lookout.producers["a"].bookmark.has_news

    def test_of_no_queue_is_of_all(self):
        lookout = build("a", "b")
        lookout.hint(())

        assert marked(lookout) == ["a", "b"]

    def test_for_no_queue_of_ours_only_tells_of_it(self):
        unknown = []
        lookout = build()
        lookout.on_unknown = unknown.extend
        lookout.hint(["elsewhere"])
        assert (unknown, lookout.woken) == (["elsewhere"], [])

        lookout.hint(["elsewhere", "default"])
        assert lookout.woken == [1]

    def test_is_followed_once_more(self, monkeypatch):
        monkeypatch.setattr(module, "LOOK_AGAIN", 0.05)
        lookout = build("a", "b")
        lookout.hint(["a"])
        assert lookout.next_at <= time.monotonic() + 0.05
        forget(lookout)

        wait_until(lambda: look(lookout))
        assert marked(lookout) == ["a"]
        forget(lookout)
        assert look(lookout) == []

    def test_puts_off_no_other_second_look(self, monkeypatch):
        monkeypatch.setattr(module, "LOOK_AGAIN", 0.2)
        lookout = build("a", "b")
        lookout.hint(["b"])
        forget(lookout)

        wait_until(lambda: lookout.hint(["a"]) or "b" in look(lookout))

    def test_reaches_a_queue_that_has_just_come(self):
        lookout = build()
        lookout.producers = {**lookout.producers, **producers_of("new")}
        forget(lookout)
        lookout.hint(["new"])

        assert marked(lookout) == ["new"]

    def test_for_a_queue_that_is_gone_is_forgotten(self, monkeypatch):
        monkeypatch.setattr(module, "LOOK_AGAIN", 0.0)
        lookout = build("a", "b")
        lookout.hint(["a"])
        lookout.producers = producers_of("b")
        forget(lookout)

        assert look(lookout) == []
        assert not lookout._look_again


class TestPoll:
    def test_is_done_first_of_all(self):
        lookout = build()
        lookout._poll_at = 0.0

        assert look(lookout) == ["default"]

    def test_is_done_again_and_again(self):
        lookout = build(poll_interval=0.05)
        for _ in range(2):
            wait_until(lambda: look(lookout))
            forget(lookout)

    def test_may_be_done_by_others(self):
        lookout = build("a", "b")
        lookout.poll.answer(["b", "elsewhere"])

        assert (marked(lookout), lookout.woken) == (["b"], [1])

    def test_waits_for_that_of_others(self):
        lookout = build(poll_interval=1000.0)
        lookout._poll_at = 0.0
        look(lookout)
        assert 899 < lookout.next_at - time.monotonic() <= 1100
        lookout.poll.answer([])

        assert 1200 < lookout.next_at - time.monotonic() <= module.LEFT_TO_OTHERS * 1000
        assert not lookout.woken

    def test_is_done_again_when_others_do_not(self):
        lookout = build(poll_interval=0.05)
        lookout.poll.answer([])

        wait_until(lambda: look(lookout))

    def test_is_left_to_others_only_while_there_is_nothing_to_work(self):
        lookout, attempt = build(), attempt_at()
        lookout.attempts.add([attempt])
        assert not lookout.poll.is_wanted()

        lookout.attempts.discard([attempt])
        assert lookout.poll.is_wanted()

    @pytest.mark.parametrize(("part", "is_dear"), [(1.0, False), (1e-12, True)])
    def test_is_not_left_to_others_if_it_takes_much_of_their_time(self, monkeypatch, part, is_dear):
        """Others may have thousands of queues, and a long transaction keeps the dead rows of all."""
        monkeypatch.setattr(module, "RIDING_PART", part)
        lookout = build()
        assert lookout.poll.is_wanted()
        lookout.poll.answer([])

        if is_dear:
            assert not lookout.poll.is_wanted()
        else:
            wait_until(lookout.poll.is_wanted)

    def test_is_not_left_to_others_after_one_that_has_failed(self):
        lookout = build()

        assert lookout.poll.is_wanted()
        assert not lookout.poll.is_wanted()

    def test_of_many_queues_finds_those_with_jobs(self, store):
        names = [f"q{number}" for number in range(module.MANY_QUEUES + 1)]
        for queue in (names[7], "foreign"):
            JobFactory(available=True, queue=queue)
        lookout = build(*names, storage=store)
        lookout._poll_at = 0.0

        assert look(lookout) == [names[7]]

    def test_does_not_look_for_queues_that_are_known_to_have_work(self):
        names = [f"q{number}" for number in range(module.MANY_QUEUES + 1)]
        lookout = build(*names)
        lookout._poll_at = 0.0
        lookout.producers[names[0]].may_have_work = True

        # Without a storage, it can only ask the few that are left one and all.
        assert look(lookout) == names


class TestDue:
    def test_is_a_moment_to_look(self):
        lookout = build("a", "b")
        for seconds in (3600.0, 0.05, 0.1):
            lookout.due_in("a", seconds)
        assert lookout.woken == [1, 1, 1]
        assert lookout.next_at <= time.monotonic() + 0.05
        wait_until(lambda: look(lookout) == ["a"] and len(lookout._due) == 1)

        assert lookout.producers["a"].bookmark.has_news

    def test_in_others_queues_is_none_of_ours(self):
        lookout = build()
        lookout.due_in("elsewhere", 0.0)

        assert not lookout._due

    def test_in_a_queue_that_is_gone_is_forgotten(self):
        lookout = build("a", "b")
        lookout.due_in("a", 0.0)
        lookout.producers = {"b": lookout.producers["b"]}

        assert look(lookout) == []
        assert not lookout._due

    def test_is_not_kept_in_mind_of_more_jobs_than_is_good(self, monkeypatch):
        monkeypatch.setattr(module, "MOST_DUE", 3)
        lookout = build()
        for _ in range(5):
            lookout.due_in("default", 60.0)

        assert len(lookout._due) == 3

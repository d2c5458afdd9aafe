"""How many processes there should be, by real rows on the test's database; the clock is the test's."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river import queues, storage
from django_river.conf import config
from django_river.models import Job, QueueRow
from django_river.process_scaler import ProcessBounds, ProcessScaler
from django_river.queue_choice import Choice, chosen_queues
from django_river.work.autoscaler import REST_SECONDS
from django_river.work.queue_plan import QueuePlan
from tests.factories import ClientFactory, JobFactory

HOST = "host.example"


class TestBounds:
    @pytest.mark.parametrize(
        ("text", "bounds"), [("auto:2-8", (2, 8)), ("auto:1-1", (1, 1)), ("auto:1-10000", (1, 10000))]
    )
    def test_are_read(self, text, bounds):
        found = ProcessBounds.read(text)

        assert (found.minimum, found.maximum) == bounds

    def test_are_one_and_the_processors_unless_they_are_said(self):
        assert ProcessBounds.read("auto") == ProcessBounds(1, len(os.sched_getaffinity(0)))

    @pytest.mark.parametrize(
        "text", ["", "2", "auto:", "auto:3", "auto:8-2", "auto:0-2", "auto:1-10001", "auto:1-2 ", "autos"]
    )
    def test_that_are_none(self, text):
        assert ProcessBounds.read(text) is None


@pytest.fixture
def build(using, settings):
    """A scaler from one to eight, by settings; each of its processes works four jobs of a queue."""
    built = []

    def build(queues=None, *, only=(), pids=(1,), stop_timeout=30.0):
        settings.DJANGO_RIVER = {"QUEUES": queues or {"default": {"MAX_WORKERS": 4}}}
        choice = Choice(only, ())
        named = chosen_queues(config(), only=only)
        scaler = ProcessScaler(
            ProcessBounds(1, 8),
            storage=storage.open_storage(using, timeout=5),
            plan=QueuePlan(config=config(), named=named, choice=choice),
            stop_timeout=stop_timeout,
            host=HOST,
        )
        scaler.pids = pids
        for pid in pids:
            ClientFactory(host=HOST, pid=pid)
        built.append(scaler)
        return scaler

    yield build
    for scaler in built:
        scaler.cleanup()


def waiting(count, *, seconds=10.0, **given):
    due = timezone.now() - timedelta(seconds=seconds)
    for _ in range(count):
        JobFactory(available=True, scheduled_at=due, **given)


def running(count, pid, *, seconds=1.0, **given):
    moment = timezone.now() - timedelta(seconds=seconds)
    for _ in range(count):
        JobFactory(running=True, client_id=f"{HOST}-{pid}-a", created_at=moment, attempted_at=moment, **given)


def rest(scaler, *, since=0.0):
    scaler.scale(now=since)
    scaler.scale(now=since + REST_SECONDS)
    return scaler.wanted


class TestMore:
    def test_when_jobs_are_late_and_as_many_as_they_fill(self, build):
        scaler = build()
        waiting(7)
        scaler.scale(now=0.0)

        assert scaler.wanted == 2

    def test_at_once_to_the_most_for_many(self, build):
        scaler = build()
        waiting(40)
        scaler.scale(now=0.0)

        assert scaler.wanted == 8

    def test_by_the_latency_that_a_queue_asks_for(self, build):
        patient = {"AUTOSCALE": {"MIN": 1, "MAX": 4, "TARGET_LATENCY": 3600}}
        scaler = build({"default": {}, "slow": patient})
        waiting(40, queue="slow")
        scaler.scale(now=0.0)

        assert scaler.wanted == 1

    def test_for_a_queue_that_was_added(self, build):
        scaler = build()
        queues.add("tenant-1", max_workers=4)
        waiting(40, queue="tenant-1")
        scaler.scale(now=0.0)

        assert scaler.wanted == 8

    def test_for_a_queue_that_matches_a_pattern(self, build):
        scaler = build({"default": {}, "tenant-*": {"MAX_WORKERS": 4}})
        waiting(40, queue="tenant-1")
        scaler.scale(now=0.0)

        assert scaler.wanted == 8

    def test_up_to_the_limit_of_all_clients(self, build):
        scaler = build({"default": {"MAX_WORKERS": 4, "GLOBAL_MAX_WORKERS": 6}})
        running(4, pid=1)
        waiting(40)
        scaler.scale(now=0.0)

        assert scaler.wanted == 2


class TestNoMore:
    @pytest.mark.parametrize(
        "options",
        [{"LEADER_ONLY": True}, {"RATE_LIMIT": "1/m"}, {"MAX_WORKERS": 4, "GLOBAL_MAX_WORKERS": 4}],
    )
    def test_for_a_queue_that_others_could_not_work_faster(self, build, options):
        scaler = build({"default": options})
        running(4, pid=1)
        waiting(40)
        scaler.scale(now=0.0)

        assert scaler.wanted == 1

    @pytest.mark.parametrize("verb", ["pause", "delete", "ignore"])
    def test_for_a_queue_that_is_not_worked(self, build, verb):
        scaler = build(
            {"default": {"MAX_WORKERS": 4}, "other": {}}, only=("other",) if verb == "ignore" else ()
        )
        waiting(40)
        if verb == "pause":
            queues.pause("default")
        elif verb == "delete":
            QueueRow.objects.create(name="default", removal="delete")
        scaler.scale(now=0.0)

        assert scaler.wanted == 1

    def test_before_the_first_one_has_announced_itself(self, build):
        scaler = build(pids=())
        scaler.pids = (1,)
        waiting(40)
        scaler.scale(now=0.0)

        assert scaler.wanted == 1

    def test_while_jobs_begin_in_time(self, build):
        scaler = build()
        waiting(40)
        # All at once, however long it has taken to make them.
        Job.objects.update(scheduled_at=timezone.now())
        scaler.scale(now=0.0)

        assert scaler.wanted == 1


class TestFewer:
    @pytest.fixture
    def scaler(self, build):
        scaler = build(pids=(1, 2, 3, 4))
        scaler._scaler.workers = scaler.wanted = 4
        return scaler

    def test_after_a_rest(self, scaler):
        assert rest(scaler) == 3
        assert rest(scaler, since=100.0) == 2

    def test_not_while_their_slots_are_in_use(self, scaler):
        for pid in scaler.pids:
            running(4, pid=pid)

        assert rest(scaler) == 4

    def test_not_for_the_jobs_of_other_hosts(self, scaler):
        ClientFactory(host="other.example", pid=1, id="other")
        for _ in range(16):
            JobFactory(running=True, client_id="other")

        assert rest(scaler) == 3

    def test_the_one_that_runs_least_goes_first_and_of_equals_the_youngest(self, scaler):
        running(2, pid=2)
        running(1, pid=4)
        scaler.scale(now=0.0)

        assert scaler.dispensable == [3, 1, 4, 2]

    def test_never_one_that_would_not_finish_in_time(self, scaler):
        running(1, pid=3, seconds=31.0)
        scaler.scale(now=0.0)

        assert scaler.dispensable == [4, 2, 1]

    def test_nor_one_that_has_not_announced_itself(self, scaler):
        scaler.pids = (1, 2, 3, 4, 5)
        scaler.scale(now=0.0)

        assert scaler.dispensable == [4, 3, 2, 1]


def test_it_starts_and_stops_twice_and_closes_its_connection(build):
    scaler = build()
    waiting(40)
    scaler.start()
    scaler.start()
    while scaler.wanted == 1:
        scaler.wake()
    assert scaler.stop(5)
    assert scaler.stop(5)

"""Queues are added, changed and removed by name; what is wrong is said, and changes nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from django_river import QueueClosed, QueueExists, UnknownQueue, queues
from django_river.known_queues import known_queues
from django_river.models import Job, Queue, QueueResume, QueueRow
from django_river.queue_options import RateLimit
from tests.factories import ClientFactory, JobFactory, QueueFactory
from tests.shop.jobs import nothing

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def forgetful():
    yield
    known_queues.__init__()


def rows():
    return dict(QueueRow.objects.values_list("name", "settings"))


class TestAdd:
    def test_keeps_what_was_given(self):
        info = queues.add("tenant-1", max_workers=3, rate_limit="5/10s", timeout=timedelta(minutes=1))

        assert rows() == {"tenant-1": {"max_workers": 3, "rate_limit": [5, 10.0], "timeout": 60.0}}
        assert (info.config.max_workers, info.config.rate_limit) == (3, RateLimit(5, 10.0))
        assert (info.origins["max_workers"], info.origins["weight"]) == ("row", "default")

    def test_lets_jobs_in(self):
        with pytest.raises(UnknownQueue):
            nothing.using(queue="tenant-1").enqueue()
        queues.add("tenant-1", max_attempts=3)

        assert nothing.using(queue="tenant-1").enqueue().max_attempts == 3

    def test_of_one_that_is_there_is_refused(self):
        queues.add("tenant-1")

        with pytest.raises(
            QueueExists, match=r"queue 'tenant-1' has been added before; update\(\) changes it"
        ):
            queues.add("tenant-1")
        with pytest.raises(QueueExists, match=r"queue 'default' is in DJANGO_RIVER\['QUEUES'\]"):
            queues.add("default")

    @pytest.mark.parametrize(
        ("given", "error", "text"),
        [
            ({"max_workers": 0}, ValueError, "max_workers must be an int from 1 to 10000, got 0"),
            (
                {"max_worker": 1},
                TypeError,
                "a queue has no setting 'max_worker'. did you mean 'max_workers'?",
            ),
            (
                {"MAX_WORKERS": 1},
                TypeError,
                "a queue has no setting 'MAX_WORKERS'. did you mean 'max_workers'?",
            ),
            ({"rate_limit": "fast"}, ValueError, "rate_limit must be a text such as"),
            ({"rate_limit": "0/s"}, ValueError, "rate_limit must be a text such as"),
            ({"autoscale": {"MIN": 3, "MAX": 2}}, ValueError, "autoscale must be a dict of MIN, MAX"),
            ({"on": {"gpu": 1}}, ValueError, "on must be a dict of str to str, got {'gpu': 1}"),
            (
                {"min_workers": 3, "max_workers": 2},
                ValueError,
                "min_workers (3) must not be more than max_workers (2)",
            ),
        ],
    )
    def test_of_settings_that_cannot_be_is_refused(self, given, error, text):
        with pytest.raises(error) as caught:
            queues.add("tenant-1", **given)

        assert str(caught.value).startswith(text)
        assert not rows()

    @pytest.mark.parametrize("name", ["", "Tenant", "tenant-*", "*", "a" * 65, None])
    def test_of_what_is_no_name_is_refused(self, name):
        with pytest.raises(ValueError, match="queue must be lower-case letters and digits"):
            queues.add(name)


class TestUpdate:
    def test_changes_what_is_given_and_leaves_the_rest(self):
        queues.add("tenant-1", max_workers=3, weight=2)

        info = queues.update("tenant-1", max_workers=4)

        assert (info.config.max_workers, info.config.weight) == (4, 2)

    def test_takes_back_what_was_said(self):
        queues.add("tenant-1", max_workers=3, weight=2)

        info = queues.update("tenant-1", weight=queues.INHERIT)

        assert rows() == {"tenant-1": {"max_workers": 3}}
        assert (info.config.weight, info.origins["weight"]) == (1, "default")

    def test_goes_over_the_settings(self):
        info = queues.update("other", max_workers=7)

        assert (info.config.max_workers, info.origins["max_workers"]) == (7, "row")
        assert queues.update("other", max_workers=queues.INHERIT).config.max_workers == 2

    def test_is_of_what_there_is(self):
        with pytest.raises(UnknownQueue, match=r"there is no queue 'tenant-1'; add\(\) adds one"):
            queues.update("tenant-1", weight=2)
        with pytest.raises(TypeError, match="a queue has no setting 'wait'"):
            queues.update("default", wait=queues.INHERIT)

    def test_sees_what_holds_already(self):
        queues.add("tenant-1", max_workers=3)

        with pytest.raises(ValueError, match="must not be more than max_workers"):
            queues.update("tenant-1", min_workers=4)

    def test_leaves_alone_what_another_release_has_said(self):
        QueueRow.objects.create(
            name="tenant-1", settings={"weight": 2, "colour": "red", "max_workers": "many"}
        )

        info = queues.get("tenant-1")

        assert (info.config.weight, info.config.max_workers) == (2, 10)
        assert queues.update("tenant-1", timeout=5).config.weight == 2
        assert rows()["tenant-1"]["colour"] == "red"


class TestInheritance:
    @pytest.fixture(autouse=True)
    def layers(self, settings):
        settings.DJANGO_RIVER = {
            "QUEUE_DEFAULTS": {"WEIGHT": 2, "MAX_WORKERS": 20},
            "QUEUES": {
                "default": {},
                "tenant-*": {"MAX_WORKERS": 3, "TIMEOUT": 60},
                "tenant-big-*": {"MAX_WORKERS": 9},
                "tenant-big-1": {"TIMEOUT": timedelta(seconds=5)},
            },
        }

    @pytest.mark.parametrize(
        ("name", "workers", "timeout", "weight"),
        [
            ("default", (20, "QUEUE_DEFAULTS"), (None, "default"), (2, "QUEUE_DEFAULTS")),
            ("tenant-1", (3, "QUEUES['tenant-*']"), (60.0, "QUEUES['tenant-*']"), (4, "row")),
            (
                "tenant-big-1",
                (9, "QUEUES['tenant-big-*']"),
                (5.0, "QUEUES['tenant-big-1']"),
                (2, "QUEUE_DEFAULTS"),
            ),
        ],
    )
    def test_takes_the_nearest_word_and_says_whose_it_is(self, name, workers, timeout, weight):
        queues.add("tenant-1", weight=4)

        info = queues.get(name)

        found = [
            (getattr(info.config, key), info.origins[key]) for key in ("max_workers", "timeout", "weight")
        ]
        assert found == [workers, timeout, weight]

    def test_lets_jobs_into_what_matches(self):
        assert nothing.using(queue="tenant-77").enqueue().queue == "tenant-77"
        with pytest.raises(UnknownQueue):
            nothing.using(queue="tenants").enqueue()


class TestRemove:
    def test_drains_and_refuses_new_jobs(self):
        queues.add("tenant-1")
        job = nothing.using(queue="tenant-1").enqueue()

        done = queues.remove("tenant-1")

        assert (done.jobs, done.is_done) == (0, False)
        assert queues.get("tenant-1").removal == "drain"
        with pytest.raises(
            QueueClosed, match=r"queue must be open, but 'tenant-1' is being removed \(drain\)"
        ):
            nothing.using(queue="tenant-1").enqueue()
        Job.objects.filter(pk=job.pk).delete()
        assert queues.remove("tenant-1").is_done
        with pytest.raises(UnknownQueue):
            queues.get("tenant-1")

    def test_of_a_queue_of_the_settings_refuses_new_jobs(self):
        queues.remove("other")

        with pytest.raises(QueueClosed):
            nothing.using(queue="other").enqueue()
        queues.add("other")
        assert nothing.using(queue="other").enqueue().queue == "other"

    def test_moves_what_waits(self):
        queues.add("tenant-1")
        made = [nothing.using(queue="tenant-1").enqueue(number).pk for number in range(3)]
        later = JobFactory(scheduled=True, queue="tenant-1").pk

        done = queues.remove("tenant-1", jobs="move", to="default")

        assert (done.jobs, done.is_done) == (4, True)
        assert set(Job.objects.filter(queue="default").values_list("pk", flat=True)) == {*made, later}

    def test_deletes_what_waits_and_lets_run_what_runs(self):
        queues.add("tenant-1")
        nothing.using(queue="tenant-1").enqueue()
        running = JobFactory(running=True, queue="tenant-1")

        done = queues.remove("tenant-1", jobs="delete")

        assert (done.jobs, done.is_done) == (1, False)
        assert Job.objects.get().pk == running.pk

    def test_waits_as_long_as_it_may(self):
        queues.add("tenant-1")
        JobFactory(running=True, queue="tenant-1")

        assert not queues.remove("tenant-1", timeout=0.01).is_done

    @pytest.mark.parametrize(
        ("given", "error", "text"),
        [
            ({"name": "elsewhere"}, UnknownQueue, "there is no queue 'elsewhere'"),
            ({"jobs": "burn"}, ValueError, "jobs must be one of drain, move, delete, got 'burn'"),
            ({"jobs": "move"}, ValueError, "to must be given with jobs='move', and only then"),
            ({"to": "default"}, ValueError, "to must be given with jobs='move', and only then"),
            ({"jobs": "move", "to": "other"}, ValueError, "to must be another queue, got 'other'"),
            ({"jobs": "move", "to": "nowhere"}, UnknownQueue, "there is no queue 'nowhere'"),
        ],
    )
    def test_of_what_cannot_be_is_refused(self, given, error, text):
        with pytest.raises(error) as caught:
            queues.remove(**{"name": "other"} | given)

        assert str(caught.value).startswith(text)
        assert not rows()

    def test_is_taken_back_by_an_addition(self):
        queues.add("tenant-1", weight=2)
        queues.remove("tenant-1")
        JobFactory(available=True, queue="tenant-1")

        queues.add("tenant-1", weight=3)

        assert queues.get("tenant-1").removal == ""


class TestPauseUntil:
    def test_is_kept(self):
        until = timezone.now() + timedelta(hours=1)
        queues.pause("default", until=until)

        info = queues.get("default")
        assert (info.is_paused, info.resume_at) == (True, until)

    def test_of_all(self):
        QueueFactory(name="a")
        QueueFactory(name="b")
        queues.pause(until=timedelta(hours=1))

        assert sorted(QueueResume.objects.values_list("name", flat=True)) == ["a", "b"]

    def test_is_forgotten_by_a_plain_pause_and_by_resuming(self):
        for forget in (lambda: queues.pause("a"), lambda: queues.resume("a")):
            queues.pause("a", until=timedelta(hours=1))
            forget()
            assert not QueueResume.objects.exists()

    def test_of_all_does_not_end_what_was_paused_before(self):
        queues.pause("a")
        QueueFactory(name="b")
        queues.pause(until=timedelta(hours=1))

        assert list(QueueResume.objects.values_list("name", flat=True)) == ["b"]

    def test_is_forgotten_by_a_plain_pause_of_all(self):
        queues.pause("a", until=timedelta(hours=1))
        queues.pause()

        assert not QueueResume.objects.exists()

    def test_wants_a_moment_with_a_zone(self):
        with pytest.raises(ValueError, match="until must be aware"):
            queues.pause("a", until=timezone.now().replace(tzinfo=None))
        with pytest.raises(TypeError, match="until must be a datetime or a timedelta, got 5"):
            queues.pause("a", until=5)
        assert not Queue.objects.exists()


class TestList:
    def test_names_them_all(self):
        queues.add("tenant-1")
        QueueFactory(name="worked", paused=True)
        queues.remove("other")
        Job.objects.all().delete()

        found = {info.name: info.is_paused for info in queues.list()}

        assert found == {"default": False, "tenant-1": False, "worked": True}

    def test_says_who_has_applied_what_holds(self):
        queues.add("tenant-1")
        version = queues.storage.for_caller("default").queue_row_list()[0].version
        up_to_date = ClientFactory(applied={"tenant-1": {"slots": 4, "version": version}})
        behind = ClientFactory(applied={"tenant-1": {"slots": 4, "version": "before"}})
        ClientFactory(stale=True)

        info = queues.get("tenant-1")

        assert (info.applied_by, info.awaited) == ({up_to_date.pk: 4}, [behind.pk])
        assert info.as_dict()["settings"]["max_workers"] == {"value": 10, "from": "default"}


def test_async_callers_have_a_twin_of_each(transactional_db):
    async def all_of_them():
        await queues.aadd("tenant-1", weight=2)
        await queues.aupdate("tenant-1", weight=3)
        await queues.apause("tenant-1")
        await queues.aresume("tenant-1")
        assert (await queues.aget("tenant-1")).config.weight == 3
        assert "tenant-1" in [info.name for info in await queues.alist()]
        assert (await queues.aremove("tenant-1")).is_done

    async_to_sync(all_of_them)()

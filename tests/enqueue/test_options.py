"""What may be said of one job, how it is checked, and that the answer is what was stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from django.db import transaction
from django.utils import timezone as django_timezone
from django.utils.safestring import mark_safe

from django_river import ArgumentTypeError, ArgumentValueError, Unique, UnknownQueue
from django_river.models import Job
from tests.shop.jobs import nothing

HOUR = timedelta(hours=1)
LONG_AGO = datetime(476, 9, 4, 12, tzinfo=UTC)
QUEUE_RULE = (
    "queue must be lower-case letters and digits, parts joined by '_', '-' or '|', at most 64 characters"
)
FAR_EAST = timezone(timedelta(hours=14))


def columns(job):
    """All that a row holds."""
    values = {field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields}
    if values["unique_key"] is not None:
        values["unique_key"] = bytes(values["unique_key"])
    return values


def stored(job):
    return columns(Job.objects.using(job._state.db).get(pk=job.pk))


@pytest.fixture
def text_job(define):
    def text(text: str, more: dict[str, float] | None = None) -> None: ...

    return define(text)


class TestTheAnswer:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"queue": "other", "priority": 4, "max_attempts": 32767},
            {"tags": ["eu", "paid-up", "ärger"]},
            {"metadata": {"é😀": [1.5, -0.0, 1e21, 2**53 + 1, None, True, {"": "\x07\u2028"}]}},
            {"pending": True},
            {"run_after": HOUR},
            {"run_after": -HOUR, "pending": True},
            {"run_after": LONG_AGO},
            {"run_after": datetime(2999, 1, 1, 5, 4, 3, 999999, FAR_EAST)},
            pytest.param({"unique": Unique(by_args=True, by_period=HOUR)}, id="unique"),
        ],
        ids=str,
    )
    def test_is_what_was_stored(self, db, options):
        job = nothing.using(**options).enqueue(7)

        assert columns(job) == stored(job)

    def test_has_arguments_as_they_are_read_back(self, db, text_job):
        job = text_job.enqueue(mark_safe("<b>"), more={"a": 1, "b": 1e21, "c": -0.5})

        assert type(job.args["text"]) is str
        assert columns(job) == stored(job)

    def test_is_a_saved_instance(self, db):
        job = nothing.enqueue()

        assert (job._state.adding, job._state.db, job.skipped_as_duplicate) == (False, "default", False)
        job.refresh_from_db()

    def test_tells_the_moment_of_the_database(self, db):
        job = nothing.using(run_after=HOUR).enqueue()

        assert job.scheduled_at - job.created_at == HOUR
        assert abs(job.created_at - django_timezone.now()) < timedelta(minutes=1)


class TestUsing:
    def test_keeps_what_the_job_was_defined_with(self, db, define):
        def work() -> None: ...

        unique = Unique(by_queue=True)
        tuned = define(work, queue="other", priority=2, max_attempts=3, tags=["a"], unique=unique)

        job = tuned.enqueue()
        assert (job.queue, job.priority, job.max_attempts, job.tags) == ("other", 2, 3, ["a"])
        assert job.unique_states == unique.mask

    def test_overrides_it_for_one_job(self, db, define):
        def work() -> None: ...

        tuned = define(work, queue="other", priority=2, max_attempts=3, tags=["a"])

        tuned.using(queue="default", priority=1, max_attempts=1, tags=[]).enqueue()
        job = Job.objects.get()
        assert (job.queue, job.priority, job.max_attempts, job.tags) == ("default", 1, 1, [])
        assert tuned.enqueue().queue == "other"

    def test_adds_up(self, db):
        request = nothing.using(priority=3, tags=["a"]).using(queue="other").using(priority=4, tags=None)

        job = request.enqueue()

        assert (job.priority, job.tags, job.queue) == (4, ["a"], "other")

    def test_takes_the_attempts_of_the_settings_last(self, db, settings):
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"MAX_ATTEMPTS": 7}

        assert nothing.enqueue().max_attempts == 7
        assert nothing.using(max_attempts=8).enqueue().max_attempts == 8

    def test_takes_tags_of_any_kind(self, db, define):
        def work() -> None: ...

        defined = define(work, tags=(tag for tag in ["a", "b"]))

        assert defined.enqueue().tags == ["a", "b"]
        assert nothing.using(tags=(tag for tag in ["a", mark_safe("b")])).enqueue().tags == ["a", "b"]

    def test_may_unpark_a_request(self, db):
        assert nothing.using(pending=True).using(pending=False).enqueue().state == "available"

    def test_of_another_database_stores_there(self, second):
        with transaction.atomic(using=second):
            job = nothing.using(database=second).enqueue()

            assert not Job.objects.using("default").exists()
            assert columns(job) == stored(job)
        assert job._state.db == second
        assert Job.objects.get() == job

    def test_follows_the_settings_to_another_database(self, second, settings):
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"DATABASE": second}
        with transaction.atomic(using=second):
            job = nothing.enqueue()

            assert not Job.objects.using("default").exists()
        assert job._state.db == second


class TestWrongOptions:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"priority": 0}, ValueError, "priority must be an int from 1 (first) to 4 (last), got 0"),
            ({"priority": True}, ValueError, "priority must be an int from 1 (first) to 4 (last), got True"),
            ({"max_attempts": 0}, ValueError, "max_attempts must be an int from 1 to 32767, got 0"),
            ({"queue": "Mail"}, ValueError,
             f"{QUEUE_RULE}, got 'Mail'"),
            ({"queue": ""}, ValueError,
             f"{QUEUE_RULE}, got ''"),
            ({"tags": "eu"}, TypeError, "tags must be a list of texts, got 'eu'"),
            ({"tags": 5}, TypeError, "tags must be a list of texts, got 5"),
            ({"tags": ["a,b"]}, ValueError, "a tag must be 1 to 255 word characters or hyphens, got 'a,b'"),
            ({"tags": [5]}, ValueError, "a tag must be 1 to 255 word characters or hyphens, got 5"),
            ({"metadata": {1: 2}}, TypeError, "metadata must have text keys, got 1"),
            ({"metadata": "text"}, TypeError, "metadata must be a mapping, got 'text'"),
            ({"metadata": 5}, TypeError, "metadata must be a mapping, got 5"),
            ({"run_after": 60}, TypeError, "run_after must be a datetime or a timedelta, got 60"),
            ({"run_after": date(2026, 1, 1)}, TypeError,
             "run_after must be a datetime or a timedelta, got datetime.date(2026, 1, 1)"),
            ({"run_after": timedelta.max}, ValueError,
             f"run_after must be within the years 1 to 9999, got {timedelta.max!r}"),
            ({"run_after": timedelta.min}, ValueError,
             f"run_after must be within the years 1 to 9999, got {timedelta.min!r}"),
            ({"run_after": datetime.min.replace(tzinfo=FAR_EAST)}, ValueError,
             f"run_after must be within the years 1 to 9999, got {datetime.min.replace(tzinfo=FAR_EAST)!r}"),
            ({"unique": True}, TypeError, "unique must be a Unique, got True"),
            ({"pending": "yes"}, TypeError, "pending must be a bool, got 'yes'"),
        ],
        ids=str,
    )  # fmt: skip
    def test_are_named_with_the_rule_and_the_value(self, options, error, message):
        with pytest.raises(error) as caught:
            nothing.using(**options)

        assert str(caught.value) == message

    @pytest.mark.parametrize(
        "key",
        ["output", "snoozes", "periodic", "cancel_attempted_at", "unique_key_conflict", "river:log",
         "django_river:x"],
    )  # fmt: skip
    def test_must_not_touch_metadata_of_the_queue(self, key):
        with pytest.raises(ValueError) as caught:
            nothing.using(metadata={"mine": 1, key: 1})

        assert str(caught.value) == f"metadata must not use keys of the queue itself, got {key!r}"

    def test_that_are_unknown_are_refused(self):
        with pytest.raises(TypeError, match="unexpected keyword argument 'prio'"):
            nothing.using(prio=1)
        with pytest.raises(TypeError, match="unexpected keyword argument 'prio'"):
            nothing.using(priority=1).using(prio=1)

    @pytest.mark.parametrize("value", [float("nan"), "a\0", "\ud800", {1, 2}, b"x"], ids=ascii)
    def test_metadata_that_no_database_keeps_is_refused(self, db, value):
        request = nothing.using(metadata={"key": value})

        with pytest.raises((ArgumentTypeError, ArgumentValueError), match=r"shop\.nothing: metadata"):
            request.enqueue()
        assert not Job.objects.exists()

    def test_metadata_has_the_limit_of_arguments(self, db, settings):
        settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"MAX_ARGS_BYTES": 20}

        with pytest.raises(ArgumentValueError) as caught:
            nothing.using(metadata={"a": "x" * 20}).enqueue()

        assert str(caught.value) == ("shop.nothing: metadata: 28 bytes of JSON, more than the limit of 20")


class TestQueues:
    def test_that_no_setting_names_are_refused(self, db):
        with pytest.raises(UnknownQueue) as caught:
            nothing.using(queue="mail").enqueue()

        assert str(caught.value) == (
            "shop.nothing: queue must be one of default, other (DJANGO_RIVER['QUEUES']), or be added, "
            "or DYNAMIC_QUEUES must be on; got 'mail'"
        )
        assert not Job.objects.exists()

    def test_of_a_definition_are_checked_at_the_call(self, db, define, settings):
        def work() -> None: ...

        defined = define(work, queue="elsewhere")

        with pytest.raises(UnknownQueue, match="got 'elsewhere'"):
            defined.build()
        settings.DJANGO_RIVER = {"QUEUES": {"elsewhere": {}}}
        assert defined.build().row.queue == "elsewhere"

    def test_may_have_any_name_where_they_are_dynamic(self, db, settings):
        settings.DJANGO_RIVER = {"QUEUES": {}, "DYNAMIC_QUEUES": True}

        assert nothing.using(queue="tenant-7|mail").enqueue().queue == "tenant-7|mail"
        with pytest.raises(ValueError, match="queue must be lower-case"):
            nothing.using(queue="Tenant 7")


class TestRunAfter:
    def test_a_span_waits(self, db):
        assert nothing.using(run_after=HOUR).enqueue().state == "scheduled"

    @pytest.mark.parametrize("past", [timedelta(0), -HOUR, LONG_AGO], ids=str)
    def test_in_the_past_means_now(self, db, past):
        assert nothing.using(run_after=past).enqueue().state == "available"

    def test_a_moment_is_the_same_in_every_zone(self, db):
        moment = datetime(2999, 1, 1, tzinfo=FAR_EAST)

        job = nothing.using(run_after=moment).enqueue()

        assert (job.state, job.scheduled_at) == ("scheduled", moment)
        assert Job.objects.get().scheduled_at == moment

    def test_a_naive_moment_is_refused(self, db):
        with pytest.raises(ValueError) as caught:
            nothing.using(run_after=datetime(2026, 1, 1)).enqueue()

        assert str(caught.value) == (
            "run_after must be aware (it has no time zone), got datetime.datetime(2026, 1, 1, 0, 0)"
        )

    @pytest.mark.parametrize("naive", [True, False])
    def test_a_moment_is_local_where_the_project_has_no_zones(self, using, settings, naive):
        """Paris is two hours ahead in summer."""
        settings.USE_TZ = False
        moment = datetime(2999, 7, 1, 12) if naive else datetime(2999, 7, 1, 10, tzinfo=UTC)

        job = nothing.using(run_after=moment).enqueue()

        assert columns(job) == stored(job)
        settings.USE_TZ = True
        assert Job.objects.get().scheduled_at == datetime(2999, 7, 1, 10, tzinfo=UTC)

    def test_a_span_is_one_where_the_project_has_no_zones(self, using, settings):
        settings.USE_TZ = False

        job = nothing.using(run_after=HOUR).enqueue()

        assert columns(job) == stored(job)
        assert job.scheduled_at - job.created_at == HOUR

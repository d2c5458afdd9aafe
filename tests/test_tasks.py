"""The backend for Django's own tasks."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

if django.VERSION < (6, 0):
    pytest.skip("Django has tasks from 6.0 on", allow_module_level=True)

from django.tasks import TaskResultStatus, task, task_backends
from django.tasks.exceptions import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    TaskResultMismatch,
)
from django.tasks.signals import task_enqueued, task_finished, task_started

from django_river import operations
from django_river.jobs.registry import registry
from django_river.jobs.states import State
from django_river.models import Job
from django_river.tasks import RiverBackend, RiverTask, RiverTaskResult, river_priority
from tests.e2e.processes import Workers
from tests.factories import JobFactory
from tests.shop import jobs, tasks
from tests.shop.models import Run
from tests.waiting import wait_until


@pytest.fixture
def work(using, process_environ):
    """Works what there is, in a process; the task's result afterwards."""

    def work(result, *flags):
        with Workers("--burst", *flags, environ=process_environ) as workers:
            assert workers.process.wait(60) == 0, workers.output
        result.refresh()
        return result

    return work


@pytest.fixture
def backend(settings):
    """Another backend beside the default one."""

    def build(**params):
        settings.TASKS = {
            **settings.TASKS,
            "other": {"BACKEND": "django_river.tasks.RiverBackend", **params},
        }
        return task_backends["other"]

    return build


@pytest.fixture
def declare():
    """Declares a task, for this test only."""
    known = []

    def declare(**options):
        made = task(**options)(tasks.undeclared)
        known.append(registry.get("tests.shop.tasks.undeclared"))
        return made

    yield declare
    for definition in known:
        registry.discard(definition)


@pytest.fixture
def heard():
    heard = []
    receivers = {}
    for signal, name in ((task_enqueued, "enqueued"), (task_started, "started"), (task_finished, "finished")):

        def receiver(task_result, name=name, **_):
            heard.append((name, task_result.id, task_result.status))

        receivers[signal] = receiver
        signal.connect(receiver)
    yield heard
    for signal, receiver in receivers.items():
        signal.disconnect(receiver)


def result_of(function=tasks.add, **given):
    """The result of a job that stands there as given."""
    given = {"args": {"args": [1], "kwargs": {"start": 2}}, **given}
    return function.get_result(str(JobFactory(kind=f"tests.shop.tasks.{function.name}", **given).pk))


@pytest.mark.django_db
class TestEnqueue:
    def test_stores_a_job_of_the_tasks_own_kind(self):
        result = tasks.add.enqueue(1, 2.5, start=3)
        job = Job.objects.get(pk=result.id)

        assert (job.kind, job.state, job.queue, job.priority) == (
            "tests.shop.tasks.add",
            "available",
            "default",
            2,
        )
        assert job.args == {"args": [1, 2.5], "kwargs": {"start": 3}}
        assert isinstance(result, RiverTaskResult)
        assert (result.status, result.args, result.kwargs) == (TaskResultStatus.READY, [1, 2.5], {"start": 3})
        assert (result.enqueued_at, result.started_at, result.attempts) == (job.created_at, None, 0)
        assert (result.task, result.backend) == (tasks.add, "default")

    def test_is_part_of_the_callers_transaction(self, using):
        with pytest.raises(LookupError), transaction.atomic():
            result = tasks.add.enqueue(1)
            raise LookupError

        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(result.id)

    def test_takes_what_using_says(self):
        later = timezone.now() + timedelta(hours=1)
        changed = tasks.add.using(queue_name="other", priority=-100, run_after=later)
        result = changed.enqueue(1)
        job = Job.objects.get(pk=result.id)

        assert (job.queue, job.priority, job.state, job.scheduled_at) == ("other", 4, "scheduled", later)
        found = tasks.add.get_result(result.id)
        assert (found.task.queue_name, found.task.priority, found.status) == (
            "other",
            -100,
            TaskResultStatus.READY,
        )
        assert tasks.add.priority == 0

    def test_is_told_of(self, heard):
        result = tasks.add.enqueue(1)

        assert heard == [("enqueued", result.id, "READY")]

    @pytest.mark.parametrize("args", [[object()], [{"a": {1, 2}}], [float("nan")], ["\x00"]], ids=repr)
    def test_refuses_what_json_cannot_hold(self, args):
        with pytest.raises((TypeError, ValueError)):
            tasks.add.enqueue(*args)
        assert not Job.objects.exists()

    def test_refuses_a_queue_that_there_is_not(self):
        with pytest.raises(InvalidTask, match="nowhere"):
            tasks.add.using(queue_name="nowhere").enqueue(1)

    def test_refuses_a_task_that_workers_do_not_know(self, backend, settings):
        settings.TASKS = {
            **settings.TASKS,
            "now": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"},
        }
        backend()
        plain = task(backend="now")(tasks.undeclared).using(backend="other")

        with pytest.raises(
            InvalidTask, match=r"^tests\.shop\.tasks\.undeclared must be declared with @task\(backend="
        ):
            plain.enqueue()

    def test_works_from_async_code(self, using):
        async def enqueue():
            result = await tasks.add_async.aenqueue(1, 2)
            await result.arefresh()
            return await tasks.add_async.aget_result(result.id)

        assert async_to_sync(enqueue)().status == TaskResultStatus.READY


class TestTask:
    def test_is_registered_when_it_is_declared(self):
        assert isinstance(tasks.add, RiverTask)
        assert registry.get("tests.shop.tasks.add").task is tasks.add
        tasks.add.using(priority=5)
        assert registry.get("tests.shop.tasks.add").task is tasks.add

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="tasks can be pickled from 6.1 on")
    def test_can_be_pickled(self):
        assert pickle.loads(pickle.dumps(tasks.add)) == tasks.add

    def test_can_be_hashed(self):
        assert len({tasks.add, tasks.add.using(priority=5)}) == 2

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="@task passes on what it does not know from 6.1 on")
    def test_takes_options_of_a_job(self, declare, backend):
        backend(OPTIONS={"max_attempts": 7, "timeout": 60})
        declare(backend="other", job={"timeout": 5})
        options = registry.get("tests.shop.tasks.undeclared").options

        assert (options.max_attempts, options.timeout) == (7, 5)

    @pytest.mark.skipif(django.VERSION < (6, 1), reason="@task passes on what it does not know from 6.1 on")
    @pytest.mark.parametrize("job", [{"colour": 1}, {"timeout": -1}, {"batch": None}], ids=str)
    def test_refuses_options_that_there_are_not(self, declare, job):
        with pytest.raises(InvalidTask, match=r"^tests\.shop\.tasks\.undeclared: job: "):
            declare(job=job)

    def test_refuses_a_name_that_no_queue_can_have(self):
        with pytest.raises(InvalidTask, match="Queue"):
            tasks.add.using(queue_name="No Queue")

    def test_refuses_a_queue_that_is_not_among_those_of_the_backend(self, backend, declare):
        backend(QUEUES=["other"])
        with pytest.raises(InvalidTask, match="Queue 'default' is not valid for backend"):
            declare(backend="other")


class TestBackend:
    def test_says_what_it_can(self):
        backend = task_backends["default"]

        assert isinstance(backend, RiverBackend)
        assert backend.supports_defer
        assert backend.supports_async_task
        assert backend.supports_get_result
        assert backend.supports_priority

    @pytest.mark.parametrize("options", [{"colour": 1}, {"max_attempts": 0}, {"batch": 1}], ids=str)
    def test_refuses_options_that_there_are_not(self, backend, options):
        with pytest.raises(InvalidTaskBackend, match=r"^TASKS\['other'\]\['OPTIONS'\]: "):
            backend(OPTIONS=options)

    def test_orders_priorities(self):
        priorities = [100, 1, 0, -1, -50, -51, -100]

        assert [river_priority(priority) for priority in priorities] == [1, 1, 2, 3, 3, 4, 4]


@pytest.mark.django_db
class TestResult:
    @pytest.mark.parametrize(
        ("state", "status"),
        [
            (State.AVAILABLE, "READY"),
            (State.SCHEDULED, "READY"),
            (State.RETRYABLE, "READY"),
            (State.PENDING, "READY"),
            (State.RUNNING, "RUNNING"),
            (State.COMPLETED, "SUCCESSFUL"),
            (State.CANCELLED, "FAILED"),
            (State.DISCARDED, "FAILED"),
        ],
    )
    def test_has_the_status_of_the_jobs_state(self, state, status):
        assert result_of(**{state.value: True}).status == status

    def test_has_the_progress_of_the_job(self):
        said = {"attempt": 1, "progress": 0.4, "note": "page 4", "data": {"page": 4}}
        result = result_of(running=True, metadata={"django_river:heartbeat": said})

        assert (result.progress, result.note, result.data) == (0.4, "page 4", {"page": 4})

    def test_has_times_workers_and_errors(self):
        first = datetime(2026, 1, 2, 3, tzinfo=UTC)
        trace = 'Traceback (most recent call last):\n  File "x"\ntests.shop.tasks.Broken: again'
        entries = [
            {"at": first.isoformat(), "attempt": 1, "error": "Broken: again", "trace": trace},
            {"at": "odd", "attempt": 2, "error": "JobTimeout: took longer", "trace": ""},
            {"at": "", "attempt": 3, "error": "KeyError: 'a'", "trace": "Traceback\nKeyError: 'a'"},
            {"error": "panic in Go"},
        ]
        result = result_of(running=True, attempt=5, errors=entries, attempted_by=["a", "b"])
        job = Job.objects.get(pk=result.id)

        assert (result.started_at, result.last_attempted_at) == (first, job.attempted_at)
        assert (result.worker_ids, result.attempts) == (["a", "b"], 5)
        assert [error.exception_class_path for error in result.errors] == [
            "tests.shop.tasks.Broken",
            "django_river.exceptions.JobTimeout",
            "builtins.KeyError",
            "builtins.Exception",
        ]
        assert result.errors[0].exception_class is tasks.Broken
        assert [error.traceback for error in result.errors[:2]] == [trace, "JobTimeout: took longer"]

    def test_is_refreshed(self):
        result = tasks.add.enqueue(1)
        said = {"attempt": 0, "progress": 1}
        Job.objects.filter(pk=result.id).update(
            state="completed",
            finalized_at=timezone.now(),
            metadata={"output": 7, "django_river:heartbeat": said},
        )
        result.refresh()

        assert (result.status, result.return_value, result.progress) == ("SUCCESSFUL", 7, 1.0)
        assert result.is_finished

    @pytest.mark.parametrize("id", ["", "x", "-1", "0", "²", str(2**63), str(2**62), "1.5", None], ids=repr)
    def test_that_there_is_not_is_not_found(self, id):
        with pytest.raises(TaskResultDoesNotExist):
            task_backends["default"].get_result(id)

    def test_of_a_job_that_is_no_task_is_not_found(self):
        job = jobs.nothing.enqueue()

        with pytest.raises(TaskResultDoesNotExist):
            tasks.add.get_result(str(job.pk))

    def test_of_another_task_is_a_mismatch(self):
        result = tasks.add.enqueue(1)

        with pytest.raises(TaskResultMismatch):
            tasks.forget.get_result(result.id)

    @pytest.mark.parametrize("args", [[], {}, {"args": 5, "kwargs": 6}], ids=str)
    def test_bears_what_others_have_written(self, args):
        result = result_of(args=args, metadata={"django_river:task": {"priority": "high"}})

        assert (result.args, result.kwargs, result.task) == ([], {}, tasks.add)


class TestWork:
    """Real workers."""

    pytestmark = pytest.mark.slow

    def test_ends_with_what_was_returned(self, using, work):
        others = [tasks.add_async.enqueue(1, 2), tasks.forget.enqueue()]
        result = work(tasks.add.enqueue(1, 2, start=0.5))
        for other in others:
            other.refresh()

        assert (result.status, result.return_value, result.attempts) == ("SUCCESSFUL", 3.5, 1)
        assert [other.return_value for other in others] == [3, None]
        assert len(result.worker_ids) == 1
        assert result.enqueued_at <= result.started_at <= result.finished_at

    def test_gives_a_context_to_a_task_that_wants_one(self, using, work):
        other = tasks.report_async.enqueue()
        result = work(tasks.report.enqueue("half"))
        other.refresh()

        assert result.return_value == {"id": result.id, "attempt": 1, "status": "RUNNING", "args": ["half"]}
        assert (result.progress, result.note, result.data) == (0.5, "half", {"page": 1})
        assert other.return_value == other.id

    def test_retries_what_fails_and_says_why(self, using, work):
        result = work(tasks.fail.enqueue("no luck"))
        (error,) = result.errors

        assert (result.status, result.is_finished, result.attempts) == ("READY", False, 1)
        assert error.exception_class is tasks.Broken
        assert "no luck" in error.traceback
        assert "django_river" not in error.traceback

    def test_fails_if_the_result_cannot_be_stored(self, using, work):
        result = work(tasks.give_away.enqueue())

        assert result.errors[0].exception_class is TypeError

    def test_is_seen_by_operations_like_any_job(self, using):
        result = tasks.buy.enqueue(1)
        operations.cancel(int(result.id))
        result.refresh()

        assert result.status == "FAILED"
        assert not Run.objects.exists()


def test_signals_are_sent_for_the_beginning_and_the_end(using, heard):
    from django_river.client import Client
    from django_river.conf import config

    client = Client(config(), can_lead=False, on_crash=lambda error: None)
    client.start()
    try:
        result = tasks.add.enqueue(1)
        wait_until(lambda: len(heard) == 3)
    finally:
        client.stop(timeout=5)

    assert heard == [
        ("enqueued", result.id, "READY"),
        ("started", result.id, "RUNNING"),
        ("finished", result.id, "SUCCESSFUL"),
    ]

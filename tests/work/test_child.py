"""The ear of a process of isolated jobs: what it hears, and says of a job."""

from __future__ import annotations

import socket

import pytest

from django_river import JobContext
from django_river.jobs.context import CancelReason
from django_river.work.child import Ear
from django_river.work.line import Line, News, Run, Stop
from tests.work.building import claimed


@pytest.fixture
def lines():
    """Both ends: the client's, and the process's."""
    both = [Line(end) for end in socket.socketpair()]
    yield both
    for line in both:
        line.close()


@pytest.fixture
def client(lines):
    return lines[0]


@pytest.fixture
def ear(lines):
    return Ear(lines[1], is_beating=False)


@pytest.fixture
def attempt(client, ear):
    """An attempt that runs."""
    client.say(Run.of(claimed(), timeout=None))
    ear.step()
    attempt = ear.jobs.get_nowait()
    attempt.context = JobContext(id=attempt.job.id)
    return attempt


def test_a_job_that_has_not_begun_can_be_stopped(client, ear):
    """The main thread may not have taken it yet when it is to stop."""
    client.say(Run.of(claimed(), timeout=None))
    client.say(Stop("shutdown"))
    ear.step()

    assert ear.jobs.get_nowait().cancel_reason is CancelReason.SHUTDOWN


def test_what_a_job_says_is_passed_on_once(client, ear, attempt):
    attempt.context.heartbeat(0.5)
    ear.step()
    ear.step()
    (news,) = client.hear(1)

    assert isinstance(news, News)
    assert news.beat.progress == 0.5
    assert news.age is not None


def test_a_job_that_says_nothing_is_not_heard_of(client, ear, attempt):
    ear.step()
    (news,) = client.hear(1)
    context = JobContext(id=1)
    before = context.heartbeat_at
    news.tell(context)

    assert (context.heartbeat_at, context.beat, context.kept) == (before, None, None)


def test_nothing_is_said_of_a_job_that_has_ended(client, ear, attempt):
    attempt.context.record_output(1)
    ear.forget()
    ear.step()

    assert client.hear(0) == []

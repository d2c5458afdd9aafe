"""What the documentation gives to autoscalers outside: run as it stands there."""

from __future__ import annotations

import textwrap
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_river import queues
from tests.factories import JobFactory
from tests.pages import blocks

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]

QUEUE = "thumbnails"
BACKLOG, LATENCY = (block.text for block in blocks("queues", "sql"))


def answer(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        ((number,),) = cursor.fetchall()
    return number


def ago(seconds):
    return timezone.now() - timedelta(seconds=seconds)


@pytest.fixture
def jobs():
    """Of each sort another number, so that a wrong sum is told from the right one."""
    JobFactory.create_batch(3, available=True, queue=QUEUE, priority=2, scheduled_at=ago(100))
    JobFactory.create_batch(1, available=True, queue=QUEUE, priority=1, scheduled_at=ago(50))
    JobFactory.create_batch(2, available=True, queue=QUEUE, priority=4, scheduled_at=ago(-50))
    JobFactory.create_batch(10, running=True, queue=QUEUE)
    JobFactory.create_batch(20, scheduled=True, queue=QUEUE, scheduled_at=ago(1))
    JobFactory.create_batch(40, retryable=True, queue=QUEUE, scheduled_at=ago(1))
    JobFactory.create_batch(2, retryable=True, queue=QUEUE)
    JobFactory.create_batch(2, completed=True, queue=QUEUE)
    JobFactory.create_batch(2, pending=True, queue=QUEUE)
    for state in ("available", "running"):
        JobFactory.create_batch(5, state=state, queue="other", scheduled_at=ago(500))


def test_the_backlog_is_what_waits_and_what_runs(jobs):
    assert answer(BACKLOG) == 4 + 10 + 20 + 40


def test_what_waits_in_a_paused_queue_asks_for_nobody(jobs):
    queues.pause(QUEUE)

    assert answer(BACKLOG) == 10 + 20 + 40


def test_the_latency_is_the_wait_of_the_oldest(jobs):
    assert 100 <= answer(LATENCY) < 200


def test_nothing_is_none():
    assert (answer(BACKLOG), answer(LATENCY)) == (0, 0)


def test_the_backlog_is_counted_to_a_limit():
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO river_job (kind, args, queue) SELECT 'a', '{}', %s FROM generate_series(1, 10500)",
            [QUEUE],
        )

    assert answer(BACKLOG) == 10_000


def test_the_object_of_the_page_asks_the_same():
    (page,) = blocks("queues", "yaml")
    _, _, query = page.text.partition("query: |\n")

    assert textwrap.dedent(query) == BACKLOG

"""Pausing and resuming: by name or all, said to everyone, kept in the database."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_river import queues
from django_river.hints import hints
from django_river.models import Queue
from tests.factories import QueueFactory

BOTH = pytest.mark.parametrize("verb", [queues.pause, queues.resume], ids=lambda given: given.__name__)


@pytest.fixture
def woken():
    calls = []
    hints.add_waker("default", calls.append)
    yield calls
    hints.remove_waker("default", calls.append)


def paused():
    return sorted(Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True))


class TestPause:
    def test_stops_one(self, db):
        QueueFactory(name="default")
        QueueFactory(name="other")

        assert queues.pause("other") == ["other"]
        assert paused() == ["other"]

    def test_stops_all_unless_told_which(self, db):
        QueueFactory(name="a")
        QueueFactory(name="b")
        QueueFactory(name="c", paused=True)

        assert sorted(queues.pause()) == ["a", "b"]
        assert paused() == ["a", "b", "c"]
        assert queues.pause("*") == []

    def test_says_so_of_what_was_stopped_before(self, db):
        assert queues.pause("not-yet-worked") == ["not-yet-worked"]
        assert queues.pause("not-yet-worked") == []

    def test_wakes_nobody(self, db, woken):
        queues.pause("default")

        assert woken == []


class TestResume:
    def test_lets_one_go_on(self, db):
        QueueFactory(name="a", paused=True)
        QueueFactory(name="b", paused=True)

        assert queues.resume("a") == ["a"]
        assert paused() == ["b"]

    def test_lets_all_go_on_unless_told_which(self, db):
        QueueFactory(name="a", paused=True)
        QueueFactory(name="b", paused=True)
        QueueFactory(name="c")

        assert sorted(queues.resume()) == ["a", "b"]
        assert paused() == []

    def test_wakes_who_works_them(self, using, woken):
        QueueFactory(name="a", paused=True)

        queues.resume("a")

        assert woken == [["a"]]

    def test_wakes_them_when_they_can_see_it(self, using, woken):
        QueueFactory(name="a", paused=True)
        with transaction.atomic():
            queues.resume("a")
            assert woken == []

        assert woken == [["a"]]

    @pytest.mark.parametrize("name", ["*", "a", "unknown"])
    def test_of_what_goes_on_already_wakes_nobody(self, db, woken, name):
        QueueFactory(name="a")

        assert queues.resume(name) == []
        assert woken == []


class TestBoth:
    @BOTH
    @pytest.mark.parametrize("name", ["", "Mail", "a b", "a_", "**", "a" * 65, None, 5, ["a"]], ids=repr)
    def test_refuse_what_is_no_name(self, db, verb, name):
        with pytest.raises(ValueError) as caught:
            verb(name)

        assert str(caught.value) == (
            "queue must be lower-case letters and digits, parts joined by '_', '-' or '|', "
            f"at most 64 characters, got {name!r}"
        )
        assert not Queue.objects.exists()

    def test_belong_to_the_transaction_around_them(self, using):
        with pytest.raises(LookupError), transaction.atomic():
            queues.pause("a")
            raise LookupError

        assert not Queue.objects.exists()

    @pytest.mark.parametrize("by_settings", [True, False])
    def test_go_to_the_database_they_are_told(self, second, settings, by_settings):
        alias = None if by_settings else second
        if by_settings:
            settings.DJANGO_RIVER = settings.DJANGO_RIVER | {"DATABASE": second}
        with transaction.atomic(using=second):
            assert queues.pause("a", using=alias) == ["a"]
            assert queues.resume("a", using=alias) == ["a"]
            assert queues.pause("a", using=alias) == ["a"]
            transaction.set_rollback(True, using=second)

        assert not Queue.objects.exists()

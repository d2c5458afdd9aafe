"""Wake-ups: who is told, and what is left out."""

from __future__ import annotations

import pytest

from django_river.hints import LOOK_AGAIN, WINDOW, Hints


@pytest.fixture
def hints():
    return Hints()


class TestDue:
    def test_is_every_queue_at_first(self, hints):
        assert hints.due("default", ["a", "b"], at=0) == {"a", "b"}

    def test_leaves_out_a_queue_within_the_window(self, hints):
        hints.sent("default", ["a"], at=100)

        assert hints.due("default", ["a", "b"], at=100 + WINDOW / 2) == {"b"}
        assert hints.due("default", ["a", "b"], at=100 + 1.5 * WINDOW) == {"a", "b"}

    def test_is_seen_at_the_second_look(self):
        hints = Hints()
        hints.sent("default", ["a"], at=100)

        assert not hints.due("default", ["a"], at=100 + LOOK_AGAIN - WINDOW / 2, is_visible=True)
        assert hints.due("default", ["a"], at=100 + LOOK_AGAIN, is_visible=True)

    def test_keeps_databases_apart(self, hints):
        hints.sent("default", ["a"], at=100)

        assert hints.due("other", ["a"], at=100) == {"a"}

    def test_asks_listeners_to_look_again_after_the_window(self):
        assert LOOK_AGAIN > WINDOW


class TestWake:
    def test_tells_every_waker_of_the_database(self, hints):
        heard = []
        hints.add_waker("default", lambda queues: heard.append(("first", *queues)))
        hints.add_waker("default", lambda queues: heard.append(("second", *queues)))
        hints.add_waker("other", lambda queues: heard.append(("other", *queues)))

        hints.wake("default", ["a", "b"])

        assert heard == [("first", "a", "b"), ("second", "a", "b")]

    def test_tells_nobody_without_wakers(self, hints):
        hints.wake("default", ["a"])

    def test_forgets_a_waker_that_is_removed(self, hints):
        heard = []
        hints.add_waker("default", heard.extend)
        hints.remove_waker("default", heard.extend)
        hints.remove_waker("default", heard.extend)

        hints.wake("default", ["a"])

        assert heard == []

    def test_lets_a_waker_remove_itself(self, hints):
        def once(queues):
            hints.remove_waker("default", once)
            heard.extend(queues)

        heard = []
        hints.add_waker("default", once)
        hints.add_waker("default", heard.extend)

        hints.wake("default", ["a"])

        assert heard == ["a", "a"]

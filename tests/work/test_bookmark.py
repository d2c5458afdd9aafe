"""Where claims begin."""

from __future__ import annotations

import pytest

from django_river.work import bookmark as module
from django_river.work.bookmark import CHEAP_SECONDS, LONGEST_SECONDS, REST, WALKS, Bookmark


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def claim(clock):
    """Claims that take so many seconds and end with this job; after which job they began."""

    def claim(bookmark, last, *, seconds=0.01):
        began_after = bookmark.begin()
        clock.now += seconds
        bookmark.end(last)
        return began_after

    return claim


def test_goes_on_where_the_last_claim_ended(claim):
    bookmark = Bookmark()

    assert [claim(bookmark, last) for last in (7, 9, 12)] == [None, 7, 9]


def test_begins_at_the_start_again_when_a_claim_came_short(claim):
    bookmark = Bookmark()
    claim(bookmark, 7)
    claim(bookmark, None)

    assert claim(bookmark, 9) is None


def test_knows_whether_there_may_be_more(clock):
    bookmark = Bookmark()

    def claim(last):
        bookmark.begin()
        clock.now += 0.01
        return bookmark.end(last)

    assert claim(7)
    # What stands before job 7 has not been looked at.
    assert claim(None)
    assert not claim(None)


def test_begins_at_the_start_for_what_is_new(claim):
    bookmark = Bookmark()
    claim(bookmark, 7)
    bookmark.has_news = True

    assert claim(bookmark, 9) is None
    assert claim(bookmark, 12) == 9


def test_keeps_what_is_said_during_a_claim_in_mind(clock):
    bookmark = Bookmark()
    bookmark.begin()
    bookmark.has_news = True
    bookmark.end(7)

    assert bookmark.begin() is None


def test_begins_at_the_start_now_and_then(clock, claim):
    bookmark = Bookmark()
    claim(bookmark, 7, seconds=0.02)
    clock.now += REST * 0.02 - 0.001
    assert claim(bookmark, 9, seconds=0.001) == 7

    assert claim(bookmark, 12) is None


def test_a_long_walk_is_not_made_for_all_that_is_new(clock, claim):
    bookmark = Bookmark()
    claim(bookmark, 7, seconds=2 * CHEAP_SECONDS)
    bookmark.has_news = True
    assert claim(bookmark, 9) == 7

    clock.now += LONGEST_SECONDS
    assert claim(bookmark, 12) is None


def test_a_claim_that_waited_for_the_machine_was_no_long_walk(clock, claim):
    bookmark = Bookmark()
    claim(bookmark, 7, seconds=0.001)
    bookmark.has_news = True
    claim(bookmark, 9, seconds=2 * CHEAP_SECONDS)
    bookmark.has_news = True

    assert claim(bookmark, 12) is None


def test_a_walk_that_has_become_long_is_noticed(clock, claim):
    bookmark = Bookmark()
    for seconds in (0.001, *[2 * CHEAP_SECONDS] * WALKS):
        bookmark.has_news = True
        assert claim(bookmark, 7, seconds=seconds) is None
    bookmark.has_news = True

    assert claim(bookmark, 9) == 7


def test_nor_put_off_for_longer_than_a_lost_hint_costs(clock, claim):
    bookmark = Bookmark()
    claim(bookmark, 7, seconds=10.0)
    clock.now += LONGEST_SECONDS

    assert claim(bookmark, 9) is None

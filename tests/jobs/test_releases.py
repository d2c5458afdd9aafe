"""Which release is the higher one."""

from __future__ import annotations

import pytest

from django_river.jobs.releases import compare


@pytest.mark.parametrize(
    ("higher", "lower"),
    [
        ("1.10", "1.9"),
        ("v2.0.1", "v2"),
        ("V2.0.1", "2"),
        ("2.0", "2.0rc1"),
        ("2.0rc1", "2.0b9"),
        ("2.0b1", "2.0a2"),
        ("2.0-alpha.1", "2.0.dev7"),
        ("2.0.post1", "2.0"),
        ("1.2-3-gdeadbee", "1.2"),
        ("1.2-10-gdeadbee", "1.2-9-g0000001-dirty"),
        ("1.3rc1", "1.2-200-gdeadbee"),
        ("2026-11-21", "2026-11-20.3"),
        ("20261121", "20261120"),
        ("build-1000", "build-999"),
        ("1", ""),
    ],
)
def test_is_seen_from_versions_dates_builds_and_git(higher, lower):
    assert compare(higher, lower) == 1
    assert compare(lower, higher) == -1


@pytest.mark.parametrize(
    ("ours", "theirs"), [("1.0", "1.0.0"), ("v1", "1"), ("1.2+abc", "1.2+def"), ("", ""), ("x", "x")]
)
def test_some_are_the_same(ours, theirs):
    assert compare(ours, theirs) == 0


@pytest.mark.parametrize(
    ("ours", "theirs"), [("deadbee", "1.2"), ("deadbee", "badcafe"), ("web-1", "api-2"), ("1.2-blue", "1.2")]
)
def test_of_others_nobody_can_tell(ours, theirs):
    assert compare(ours, theirs) is None
    assert compare(theirs, ours) is None

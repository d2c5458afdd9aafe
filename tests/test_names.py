"""Names that other River clients must be able to read."""

from __future__ import annotations

import pytest

from django_river.names import kind_problem, queue_problem, tag_problem


@pytest.mark.parametrize("kind", ["a", "shop.send_receipt", "Été", "a-b[c]<d>/e.f·g:h+i", "x" * 127])
def test_a_kind_may_be(kind):
    assert kind_problem(kind) is None


@pytest.mark.parametrize("kind", ["", ".a", "-a", "a b", "a\n", "a,b", "x" * 128, None, 1])
def test_a_kind_may_not_be(kind):
    assert kind_problem(kind) == (
        "kind must be 1 to 127 word characters or any of -[]<>/.·:+ and start with a word character, "
        f"got {kind!r}"
    )


@pytest.mark.parametrize("queue", ["a", "0", "emails", "e_mails", "a-b|c_d", "x" * 64])
def test_a_queue_may_be(queue):
    assert queue_problem(queue) is None


@pytest.mark.parametrize(
    "queue", ["", "_a", "a_", "a__b", "A", "é", "a b", "a.b", "a\n", "*", "x" * 65, None, 1]
)
def test_a_queue_may_not_be(queue):
    assert queue_problem(queue) == (
        "queue must be lower-case letters and digits, parts joined by '_', '-' or '|', at most 64 characters, "
        f"got {queue!r}"
    )


@pytest.mark.parametrize("tag", ["a", "-", "A_b-1", "été", "x" * 255])
def test_a_tag_may_be(tag):
    assert tag_problem(tag) is None


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "a\n", "x" * 256, None, 1])
def test_a_tag_may_not_be(tag):
    assert tag_problem(tag) == f"a tag must be 1 to 255 word characters or hyphens, got {tag!r}"

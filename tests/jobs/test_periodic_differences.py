"""What differs between two registries, entry by entry and field by field."""

from __future__ import annotations

from django_river.jobs.periodic_differences import differences


def entry(name="a", **given):
    return {
        "name": name,
        "job": "shop.work",
        "every": 60,
        "args": {},
        "queue": "default",
        "priority": 1,
    } | given


def test_none_between_the_same():
    found = differences([entry(), entry("b")], [entry("b"), entry()])

    assert not found
    assert found.lines() == []


def test_names_what_only_one_has():
    found = differences([entry("new")], [entry("old", every=5)])

    assert found.lines() == [
        '+ new: only here: job "shop.work", every 60, args {}, queue "default", priority 1',
        '- old: only there: job "shop.work", every 5, args {}, queue "default", priority 1',
    ]


def test_names_each_field_that_differs():
    ours = entry(args={"b": 1, "a": "é"}, priority=2, overlap=False)
    theirs = entry(cron="0 3 * * *", timezone="UTC", every=None, jitter=5)

    (line,) = differences([ours], [theirs]).lines()
    assert line.removeprefix("~ a: ").split("; ") == [
        'cron: here none, there "0 3 * * *"',
        "every: here 60, there none",
        'timezone: here none, there "UTC"',
        'args: here {"a": "é", "b": 1}, there {}',
        "priority: here 2, there 1",
        "jitter: here none, there 5",
        "overlap: here false, there true",
    ]


def test_can_be_said_to_programs():
    found = differences([entry(), entry("c")], [entry(every=5), entry("b")])

    assert found.as_json() == {
        "added": [entry("c")],
        "missing": [entry("b")],
        "changed": {"a": {"every": {"ours": 60, "theirs": 5}}},
    }

"""Who holds a key, when it is looked at later, and keys that every job would share."""

from __future__ import annotations

import pytest

from django_river import DefinitionError, Unique, enqueue_many, job
from django_river.models import Job


@job(kind="tests.once", unique=Unique(by_args=["key"]))
def once(key: str, number: int = 0) -> None: ...


@pytest.mark.django_db
def test_a_holder_that_is_gone_is_described_by_the_question():
    first = once.enqueue("a")
    again = enqueue_many([once.build("a")])
    Job.objects.all().delete()

    (stored,) = again
    assert (stored.skipped_as_duplicate, stored.pk) == (True, first.pk)
    assert (stored.kind, stored.args) == ("tests.once", {"key": "a", "number": 0})


@pytest.mark.django_db
def test_a_holder_may_be_of_another_kind_and_is_not_changed():
    together = Unique(by_queue=True, exclude_kind=True)

    @job(kind="tests.other")
    def other() -> None: ...

    first = once.using(unique=together).enqueue("a")
    second = other.using(unique=together).enqueue()

    assert (second.pk, second.kind, second.args) == (first.pk, "tests.once", first.args)


def test_a_key_of_arguments_that_the_job_does_not_take_is_refused():
    why = r"^tests.once: unique by_args must name its arguments \(key, number\), got 'order'$"

    with pytest.raises(DefinitionError, match=why):
        once.using(unique=Unique(by_args=["order"]))

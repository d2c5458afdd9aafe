"""Column types, by what goes in and comes out."""

import pytest
from django.core import serializers

from django_river.models import Job
from tests.factories import JobFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "errors", [None, [], [{"attempt": 1, "error": 'quotes " and, commas'}], ["bare text", 7, None, [1]]]
)
def test_errors_come_back_as_they_were(errors):
    job = JobFactory(errors=errors)

    assert Job.objects.get(pk=job.pk).errors == errors


@pytest.mark.parametrize("names", [None, [], ["a", "b,c", '"d"', "{e}", "\\f"]])
def test_lists_of_texts_come_back_as_they_were(names):
    job = JobFactory(attempted_by=names)

    assert Job.objects.get(pk=job.pk).attempted_by == names


@pytest.mark.parametrize("mask", [None, 1, 128, 245, 255])
def test_masks_come_back_as_integers(mask):
    job = JobFactory(unique_states=mask)

    assert Job.objects.get(pk=job.pk).unique_states == mask


def test_jobs_are_found_by_state_and_mask():
    job = JobFactory(state="discarded", unique_states=245)

    assert Job.objects.filter(state__in=["discarded", "cancelled"], unique_states=245).get() == job
    assert Job.objects.final().of_kind(job.kind).get() == job


def test_fields_are_written_to_fixtures_and_read_back():
    job = JobFactory(errors=[{"attempt": 1}], attempted_by=["a"], tags=["t"], unique_states=245)
    text = serializers.serialize("json", [job])
    Job.objects.all().delete()
    next(iter(serializers.deserialize("json", text))).save()

    again = Job.objects.get(pk=job.pk)
    assert (again.errors, again.attempted_by, again.tags, again.unique_states) == (
        [{"attempt": 1}], ["a"], ["t"], 245,
    )  # fmt: skip

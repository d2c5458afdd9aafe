"""Steps of resumable jobs: what was done is skipped, in the order in which it was done."""

from __future__ import annotations

import msgspec
import pytest
from django.utils.safestring import mark_safe

from django_river import JobContext, StepError


def attempt(metadata=None):
    """The next attempt at a job that has left this in its metadata."""
    return JobContext(id=1, metadata=msgspec.json.encode(metadata or {}))


def left(context):
    """What the metadata holds after an attempt."""
    return {key: msgspec.json.decode(value) for key, value in (context.remains or {}).items()}


def work(context, *names, fail_in=None):
    """Go through steps; those whose block ran."""
    ran = []
    for name in names:
        for step in context.step(name):
            ran.append(step.name)
            if name == fail_in:
                raise ValueError(name)
    return ran


def test_all_run_the_first_time():
    context = attempt()

    assert work(context, "load", "check", "store") == ["load", "check", "store"]
    assert left(context) == {"river:resumable_step": "store"}


def test_a_job_that_has_succeeded_forgets_them():
    """Who runs it once more by hand wants all of it."""
    context = attempt()
    work(context, "load", "store")
    context.steps.finish()

    assert left(context) == {"river:resumable_step": None, "river:resumable_cursor": None}
    assert work(attempt(left(context)), "load", "store") == ["load", "store"]


def test_the_next_attempt_begins_with_the_one_that_failed():
    context = attempt()
    with pytest.raises(ValueError, match="check"):
        work(context, "load", "check", "store", fail_in="check")

    assert left(context) == {"river:resumable_step": "load"}
    assert work(attempt(left(context)), "load", "check", "store") == ["check", "store"]


@pytest.mark.parametrize("leave", ["break", "return"])
def test_a_block_that_is_left_is_not_done(leave):
    def job(context):
        for _ in context.step("load"):
            if leave == "return":
                return
            break

    context = attempt()
    job(context)

    assert left(context) == {}


def test_a_cursor_is_kept_until_its_step_is_done():
    context = attempt()
    for step in context.step("pages"):
        assert step.cursor is None
        step.save({"page": 3})
        assert step.cursor == {"page": 3}
        break
    assert left(context) == {"river:resumable_cursor": {"pages": {"page": 3}}}

    again = attempt(left(context))
    for step in again.step("pages"):
        assert step.cursor == {"page": 3}
    assert left(again) == {"river:resumable_step": "pages", "river:resumable_cursor": None}


def test_a_cursor_that_json_cannot_hold_is_refused():
    with pytest.raises(TypeError, match=r"^cursor of step 'pages': expected a JSON value, got set"):
        attempt().step("pages").save({1})


def test_a_cursor_is_kept_as_it_was_when_it_was_saved():
    context, pages = attempt(), [1]
    step = context.step("pages")
    step.save(pages)
    pages.append({2})
    context.step("texts").save(mark_safe("a"))

    assert step.cursor == [1]
    assert left(context) == {"river:resumable_cursor": {"pages": [1], "texts": "a"}}


def test_steps_can_be_told_apart_by_hand():
    step = attempt({"river:resumable_step": "load"}).step("load")
    assert step.is_done

    context = attempt()
    context.step("load").done()
    assert left(context) == {"river:resumable_step": "load"}


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_step_has_a_name(name):
    with pytest.raises(StepError, match=r"^a step must have a name, got "):
        attempt().step(name)


def test_a_name_stands_once():
    context = attempt()
    work(context, "load")

    with pytest.raises(StepError, match=r"^step 'load' stands twice in this job$"):
        context.step("load")


def test_a_step_that_was_renamed_is_an_error_not_a_job_that_does_nothing():
    context = attempt({"river:resumable_step": "old"})

    assert work(context, "load", "store") == []
    with pytest.raises(StepError, match=r"^step 'old', the last one that was done, is no step of this job"):
        context.steps.finish()


@pytest.mark.parametrize("odd", [{"river:resumable_step": 5}, {"river:resumable_cursor": ["a"]}], ids=str)
def test_what_others_have_written_there_may_be_anything(odd):
    assert work(attempt(odd), "load") == ["load"]

"""A job's page: everything the row tells, escaped, and the buttons that its state allows."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin.models import LogEntry

from django_river.admin import attempts, formats
from django_river.jobs.states import State
from tests.admin.pages import buttons, said, text, url
from tests.factories import ClientFactory, JobFactory, QueueFactory, error

pytestmark = pytest.mark.django_db

SCRIPT = "<script>alert(1)</script>"


class TestPage:
    def test_shows_the_job(self, root):
        job = JobFactory(
            completed=True, kind="shop.send", queue="emails", tags=["eu", "mail"],
            args={"name": "Bücher", "order_id": 7}, metadata={"output": {"sent": 3}, "trace": "abc"},
        )  # fmt: skip

        page = text(root.row("job", job.pk))

        assert "shop.send all jobs of this kind" in page
        assert "eu, mail" in page
        assert '"name": "Bücher", "order_id": 7' in page
        assert 'Output Output: { "sent": 3 }' in page
        assert 'Metadata Metadata: { "trace": "abc" }' in page
        assert "Attempts 1 " not in page

    def test_leads_to_its_likes(self, root):
        QueueFactory(name="emails")
        job = JobFactory(kind="shop.send", queue="emails")

        page = root.row("job", job.pk).content.decode()

        assert f'href="{url("job", "changelist")}?kind=shop.send"' in page
        assert f'href="{url("job", "changelist")}?queue=emails"' in page
        assert f'href="{url("queue", "change", "emails")}"' in page

    def test_says_that_a_running_job_was_asked_to_stop(self, root):
        job = JobFactory(running=True, metadata={"cancel_attempted_at": "2026-03-01T12:00:00.5Z"})

        assert "running asked to stop at 2026-03-01 13:00:00" in text(root.row("job", job.pk))

    def test_says_how_far_a_job_is(self, root):
        said_so = {"attempt": 1, "at": "2026-03-01T12:00:00Z", "progress": 0.4, "note": SCRIPT, "stuck": True}
        job = JobFactory(running=True, metadata={"django_river:heartbeat": said_so})

        page = text(root.row("job", job.pk))
        assert "40 %" in page
        assert "last heartbeat: 2026-03-01 13:00:00 stuck" in page.replace("Last", "last")
        assert SCRIPT not in root.row("job", job.pk).content.decode()

    @pytest.mark.parametrize("odd", [5, {"attempt": 9, "progress": 1}], ids=str)
    def test_leaves_out_progress_that_is_none_or_of_a_former_attempt(self, root, odd):
        job = JobFactory(running=True, metadata={"django_river:heartbeat": odd})

        assert "Progress" not in text(root.row("job", job.pk)).split("Metadata")[0]

    def test_a_job_that_is_not_there_leads_home(self, root):
        response = root.row("job", 12345)

        assert response.status_code == 302
        assert "“12345”" in said(response)[0]

    def test_offers_what_its_state_allows(self, root):
        offered = {state.value: buttons(root.row("job", JobFactory(state=state).pk)) for state in State}

        assert offered["running"] == ["Cancel"]
        for state in ("available", "pending", "retryable", "scheduled"):
            assert offered[state] == ["Retry", "Cancel", "Delete"]
        for state in ("cancelled", "completed", "discarded"):
            assert offered[state] == ["Retry", "Delete"]

    def test_asks_the_database_a_fixed_number_of_times(self, root, django_assert_max_num_queries):
        job = JobFactory(discarded=True, max_attempts=20)
        with django_assert_max_num_queries(8):
            root.row("job", job.pk)

    def test_shows_the_beginning_of_a_long_text(self, root, monkeypatch):
        monkeypatch.setattr(formats, "TEXT_LIMIT", 10)
        job = JobFactory(args={"text": "x" * 100})

        page = text(root.row("job", job.pk))

        assert "… and" in page
        assert "x" * 50 not in page


class TestAttempts:
    def test_shows_each_with_its_error_and_traceback(self, root):
        client = ClientFactory()
        job = JobFactory(
            retryable=True, attempt=2, attempted_by=["gone", client.pk],
            errors=[
                error(1, at="2026-03-01T12:00:00Z", error="first", trace="Traceback one"),
                error(2, at="2026-03-01T13:00:00.123Z", error="second", trace=""),
            ],
        )  # fmt: skip
        response = root.row("job", job.pk)

        page = text(response)
        assert f"2 2026-03-01 14:00:00 {client.pk} failed second" in page
        assert "1 2026-03-01 13:00:00 gone failed first Traceback Traceback one" in page
        assert url("client", "change", client.pk) in response.content.decode()
        assert url("client", "change", "gone") not in response.content.decode()

    def test_the_last_one_may_have_gone_well(self):
        job = JobFactory(completed=True, attempt=2, errors=[error(1)])

        last, first = attempts.attempts(job)
        assert (last.number, last.state, last.error) == (2, "completed", "")
        assert (first.number, first.state) == (1, "")

    def test_a_job_that_was_never_begun_has_none(self):
        assert attempts.attempts(JobFactory()) == []

    def test_who_made_an_attempt_is_not_guessed(self):
        snoozed = JobFactory(retryable=True, attempt=2, attempted_by=["a", "b", "c"])

        assert [attempt.client_id for attempt in attempts.attempts(snoozed)] == ["c", ""]

    def test_entries_of_others_are_read_as_they_are(self, root):
        job = JobFactory(retryable=True, attempt=4, errors=[5, {}, {"at": 5, "attempt": "x", "error": None}])

        assert [attempt.error for attempt in attempts.attempts(job)] == ["", "None", "", "5"]
        assert root.row("job", job.pk).status_code == 200

    def test_only_the_newest_are_shown(self, root, monkeypatch):
        monkeypatch.setattr("django_river.admin.job_columns.LIMIT", 2)
        job = JobFactory(discarded=True, max_attempts=5)

        assert "3 older attempts are not shown." in text(root.row("job", job.pk))


class TestEscaping:
    @pytest.mark.parametrize(
        "values",
        [
            {"args": {SCRIPT: SCRIPT}},
            {"metadata": {"output": SCRIPT, SCRIPT: SCRIPT}},
            {"kind": SCRIPT, "queue": SCRIPT},
            {"tags": [SCRIPT]},
            {"retryable": True, "errors": [error(1, error=SCRIPT, trace=SCRIPT, at=SCRIPT)]},
            {"running": True, "attempted_by": [SCRIPT], "metadata": {"cancel_attempted_at": SCRIPT}},
        ],
    )
    def test_what_a_row_holds_is_text(self, root, values):
        job = JobFactory(**values)
        QueueFactory(name=SCRIPT)
        kind, queue = values.get("kind", ""), values.get("queue", "")
        pages = [
            root.row("job", job.pk), root.list("job", kind=kind), root.list("job", queue=queue), root.list("job"),
            root.act("job", "cancel_jobs", [job]), root.list("queue"), root.row("queue", SCRIPT),
        ]  # fmt: skip

        for page in pages:
            assert page.status_code == 200
            assert SCRIPT not in page.content.decode()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages[0].content.decode()

    def test_no_page_has_scripts_or_styles_of_its_own(self, root):
        job = JobFactory(discarded=True)
        own = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>|<style|\sstyle=|\son\w+=")
        for page in (root.list("job"), root.row("job", job.pk), root.act("job", "delete_jobs", [job])):
            assert not own.search(page.content.decode())


def test_history_shows_what_was_done(root):
    job = JobFactory(discarded=True)
    root.press("job", job.pk, "retry")

    assert LogEntry.objects.get().change_message == "Retried."
    assert "Retried." in text(root.browser.get(url("job", "history", job.pk)))

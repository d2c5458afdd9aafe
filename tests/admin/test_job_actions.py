"""Retry, cancel and delete: from the list and from a job's page, asked, answered and logged."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_river import operations
from django_river.admin import history, job_actions
from django_river.jobs.states import State
from django_river.models import Job
from tests.admin.pages import said, text, url
from tests.factories import JobFactory, error

pytestmark = pytest.mark.django_db


def states(*jobs):
    """The states of these jobs now; ``None`` for one that is gone."""
    found = dict(Job.objects.filter(pk__in=[job.pk for job in jobs]).values_list("pk", "state"))
    return [found.get(job.pk) for job in jobs]


class TestRetry:
    def test_from_the_list(self, root):
        failed, running, done = (
            JobFactory(discarded=True),
            JobFactory(running=True),
            JobFactory(completed=True),
        )
        untouched = JobFactory(cancelled=True)

        response = root.act("job", "retry_jobs", [failed, running, done], filters="?kind=tests.work")

        assert response.status_code == 302
        assert response.url == url("job", "changelist") + "?kind=tests.work"
        assert said(response) == ["Retried 2 jobs.", "Skipped 1 job: running (1)."]
        assert states(failed, running, done, untouched) == ["available", "running", "available", "cancelled"]

    def test_says_when_another_job_holds_the_unique_key(self, root):
        key = {"unique_key": b"k" * 32, "unique_states": State.AVAILABLE.bit | State.RUNNING.bit}
        loser, _holder = JobFactory(cancelled=True, **key), JobFactory(**key)

        response = root.act("job", "retry_jobs", [loser])

        assert said(response) == ["Skipped 1 job: another job holds its unique key (1)."]

    def test_from_the_page_without_a_question(self, root):
        job = JobFactory(discarded=True)

        response = root.press("job", job.pk, "retry")

        assert response.status_code == 302
        assert response.url == url("job", "change", job.pk)
        assert said(response) == ["Retried 1 job."]
        assert states(job) == ["available"]

    def test_of_all_that_match_asks_first(self, root):
        jobs = [JobFactory(discarded=True), JobFactory(discarded=True)]
        other = JobFactory(completed=True)

        question = root.act("job", "retry_jobs", jobs[:1], across=True, filters="?state=discarded")
        assert "completed ones run once more" in text(question)
        assert "discarded 2" in text(question)
        assert states(*jobs, other) == ["discarded", "discarded", "completed"]

        answer = root.act(
            "job", "retry_jobs", jobs[:1], across=True, confirmed=True, filters="?state=discarded"
        )
        assert said(answer) == ["Retried 2 jobs."]
        assert states(*jobs, other) == ["available", "available", "completed"]


class TestCancel:
    def test_asks_before_it_acts(self, root):
        waiting, running, done = JobFactory(), JobFactory(running=True), JobFactory(completed=True)

        response = root.act("job", "cancel_jobs", [waiting, running, done], filters="?queue=default")

        assert response.status_code == 200
        assert "available 1 completed 1 will be skipped running 1" in text(response)
        page = response.content.decode()
        for job in (waiting, running, done):
            assert f'<input type="hidden" name="_selected_action" value="{job.pk}">' in page
        assert f'href="{url("job", "changelist")}?queue=default"' in page
        assert states(waiting, running, done) == ["available", "running", "completed"]

    def test_says_what_it_did(self, root):
        waiting, running, done = JobFactory(), JobFactory(running=True), JobFactory(completed=True)

        response = root.act("job", "cancel_jobs", [waiting, running, done], confirmed=True)

        assert said(response) == [
            "Cancelled 2 jobs. 1 of them is running and was asked to stop.",
            "Skipped 1 job: already completed (1).",
        ]
        assert states(waiting, running, done) == ["cancelled", "running", "completed"]

    def test_from_the_page(self, root):
        job = JobFactory()

        question = root.press("job", job.pk, "cancel")
        assert question.status_code == 200
        assert states(job) == ["available"]

        answer = root.press("job", job.pk, "cancel", confirmed="yes")
        assert answer.url == url("job", "change", job.pk)
        assert states(job) == ["cancelled"]

    def test_does_not_ask_about_what_it_would_skip(self, root):
        job = JobFactory(completed=True)

        assert said(root.press("job", job.pk, "cancel")) == ["Skipped 1 job: already completed (1)."]

    def test_the_page_that_asks_counts_up_to_its_limit(self, root, monkeypatch):
        monkeypatch.setattr(job_actions, "PREVIEW_LIMIT", 3)
        jobs = JobFactory.create_batch(5)

        page = text(root.act("job", "cancel_jobs", jobs[:1], across=True))

        assert "available 3" in page
        assert "These are the first 3. All that match will be changed." in page


class TestDelete:
    def test_spares_what_runs(self, root):
        done, running = JobFactory(completed=True), JobFactory(running=True)

        assert "running 1 will be skipped" in text(root.act("job", "delete_jobs", [done, running]))
        response = root.act("job", "delete_jobs", [done, running], confirmed=True)

        assert said(response) == ["Deleted 1 job.", "Skipped 1 job: running (1)."]
        assert states(done, running) == [None, "running"]

    def test_from_the_page_leads_to_the_list(self, root):
        job = JobFactory(completed=True)
        filters = "?_changelist_filters=state%3Dcompleted"

        assert root.browser.post(url("job", "delete", job.pk) + filters).status_code == 200
        response = root.browser.post(url("job", "delete", job.pk) + filters, {"confirmed": "yes"})

        assert response.url == url("job", "changelist") + "?state=completed"
        assert states(job) == [None]

    def test_a_running_job_stays_and_so_does_its_page(self, root):
        job = JobFactory(running=True)

        response = root.press("job", job.pk, "delete", confirmed="yes")

        assert response.url == url("job", "change", job.pk)
        assert said(response) == ["Skipped 1 job: running (1)."]

    def test_says_what_is_gone_already(self, root):
        job = JobFactory(completed=True)
        gone = JobFactory(completed=True)
        Job.objects.filter(pk=gone.pk).delete()

        response = root.act("job", "delete_jobs", [job, gone], confirmed=True)

        assert said(response) == ["Deleted 1 job."]
        response = root.act("job", "delete_jobs", [gone], confirmed=True)
        assert said(response) == ["There was no job left to change."]

    def test_says_what_went_meanwhile(self, root, monkeypatch):
        job = JobFactory(completed=True)
        answer = operations.Result(changed=[], skipped={job.pk: "missing"})
        monkeypatch.setattr(operations._Selection, "change", lambda *given: answer)

        response = root.act("job", "delete_jobs", [job], confirmed=True)

        assert said(response) == ["Skipped 1 job: no longer there (1)."]


@pytest.mark.parametrize("button", ["retry", "cancel", "delete"])
class TestButtons:
    def test_take_nothing_but_a_post(self, root, button):
        job = JobFactory()

        assert root.browser.get(url("job", button, job.pk)).status_code == 405
        assert states(job) == ["available"]

    def test_want_a_token(self, root, button):
        job = JobFactory()
        root.browser.handler.enforce_csrf_checks = True

        assert root.press("job", job.pk, button, confirmed="yes").status_code == 403
        assert states(job) == ["available"]

    def test_are_forms_with_a_token(self, root, button):
        job = JobFactory()
        page = root.row("job", job.pk).content.decode()

        form = page[page.index(f'action="{url("job", button, job.pk)}"') :]
        assert "csrfmiddlewaretoken" in form[: form.index("</form>")]

    def test_for_a_job_that_is_gone_lead_home(self, root, button):
        response = root.press("job", 12345, button)

        assert response.status_code == 302
        assert "“12345”" in said(response)[0]


class TestLog:
    def test_has_an_entry_for_each_job_that_was_changed(self, root):
        jobs = [JobFactory(discarded=True, kind="shop.send"), JobFactory(running=True)]

        root.act("job", "retry_jobs", jobs)

        entry = LogEntry.objects.get()
        assert (entry.object_id, entry.object_repr) == (str(jobs[0].pk), f"shop.send #{jobs[0].pk}")
        assert (entry.action_flag, entry.change_message) == (CHANGE, "Retried.")
        assert entry.user.username == "root"

    def test_names_what_was_deleted(self, root):
        job = JobFactory(completed=True, kind="shop.send")

        root.press("job", job.pk, "delete", confirmed="yes")

        entry = LogEntry.objects.get()
        assert (entry.object_repr, entry.action_flag) == (f"shop.send #{job.pk}", DELETION)

    def test_has_one_entry_for_many(self, root, monkeypatch):
        monkeypatch.setattr(history, "ONE_BY_ONE", 3)
        root.act("job", "cancel_jobs", JobFactory.create_batch(3), confirmed=True)
        assert LogEntry.objects.count() == 3

        root.act("job", "cancel_jobs", JobFactory.create_batch(4), confirmed=True)
        assert LogEntry.objects.count() == 4
        entry = LogEntry.objects.get(object_id=None)
        assert (entry.object_repr, entry.change_message) == ("4 jobs", "Cancelled.")
        assert "4 jobs" in text(root.browser.get("/admin/"))

    def test_can_name_few_changed_among_many_chosen(self, root, monkeypatch):
        monkeypatch.setattr(history, "ONE_BY_ONE", 2)
        running = JobFactory.create_batch(3, running=True)
        last = JobFactory()

        root.act("job", "delete_jobs", [*running, last], confirmed=True)

        assert LogEntry.objects.get().object_id == str(last.pk)


class TestAcross:
    def test_takes_all_that_match_page_after_page(self, root, monkeypatch):
        monkeypatch.setattr(operations, "BATCH", 10)
        jobs = JobFactory.create_batch(35, kind="a")
        other = JobFactory(kind="b")

        response = root.act("job", "cancel_jobs", jobs[:1], across=True, confirmed=True, filters="?kind=a")

        assert said(response) == ["Cancelled 35 jobs."]
        assert set(states(*jobs)) == {"cancelled"}
        assert states(other) == ["available"]

    def test_the_page_that_asks_passes_it_on(self, root):
        jobs = JobFactory.create_batch(2)

        page = root.act("job", "delete_jobs", jobs, across=True).content.decode()

        assert '<input type="hidden" name="select_across" value="1">' in page
        assert page.count('name="_selected_action"') == 1

    def test_reads_no_large_column(self, root):
        jobs = JobFactory.create_batch(3, discarded=True, max_attempts=1, errors=[error()])
        with CaptureQueriesContext(connection) as queries:
            root.act("job", "delete_jobs", jobs[:1], across=True, confirmed=True)

        assert not any('"river_job"."errors"' in query["sql"] for query in queries)

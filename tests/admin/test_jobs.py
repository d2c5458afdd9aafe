"""The list of jobs: what it shows, to whom, and at what price."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import DataError, connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_river.admin import counts, filters, readonly
from django_river.admin.jobs import JobList
from django_river.jobs.states import State
from django_river.models import Job
from django_river.storage.overview import TooSlow
from tests.admin.pages import actions, buttons, choices, said, shown, text, url
from tests.factories import JobFactory, QueueFactory

pytestmark = pytest.mark.django_db


class TestPermissions:
    def test_who_may_not_view_sees_nothing(self, staff):
        job = JobFactory()
        nobody = staff()

        assert nobody.list("job").status_code == 403
        assert nobody.row("job", job.pk).status_code == 403

    def test_who_may_view_sees_all_and_can_do_nothing(self, staff):
        job = JobFactory()
        viewer = staff("view_job")

        assert shown(viewer.list("job")) == [job.pk]
        assert actions(viewer.list("job")) == []
        assert buttons(viewer.row("job", job.pk)) == []
        for button in ("retry", "cancel", "delete"):
            assert viewer.press("job", job.pk, button, confirmed="yes").status_code == 403
        job.refresh_from_db()
        assert job.state == "available"

    @pytest.mark.parametrize("name", ["retry", "cancel", "delete"])
    def test_each_permission_brings_its_own_action_and_button(self, staff, name):
        job = JobFactory()
        user = staff("view_job", f"{name}_job")

        assert actions(user.list("job")) == [f"{name}_jobs"]
        assert buttons(user.row("job", job.pk)) == [name.capitalize()]

    def test_an_action_without_its_permission_changes_nothing(self, staff):
        job = JobFactory()

        response = staff("view_job", "retry_job").act("job", "cancel_jobs", [job], confirmed=True)

        assert said(response) == ["No action selected."]
        job.refresh_from_db()
        assert job.state == "available"

    def test_the_permission_to_act_is_not_one_to_look(self, staff):
        job = JobFactory()

        assert staff("retry_job").press("job", job.pk, "retry").status_code == 403

    def test_nobody_adds_or_edits(self, root):
        job = JobFactory()

        assert root.browser.get(url("job", "add")).status_code == 403
        assert root.browser.post(url("job", "change", job.pk), {"kind": "other"}).status_code == 403

    def test_the_admins_own_deletion_is_gone(self, root):
        job = JobFactory(running=True)

        assert "delete_selected" not in actions(root.list("job"))
        response = root.act("job", "delete_selected", [job], post="yes")
        assert said(response) == ["No action selected."]
        assert Job.objects.filter(pk=job.pk).exists()


class TestList:
    def test_shows_what_a_job_is(self, root):
        JobFactory(completed=True, kind="shop.send", queue="emails", attempt=2, max_attempts=5, priority=3)

        page = text(root.list("job"))

        assert re.search(r"completed shop.send emails 2/5 [-\d]{0,10} ?[\d:]+ 2 s [-\d:]+", page)
        assert page.count(" 2 s ") == 1

    def test_shows_what_runs_for_how_long(self, root):
        JobFactory(running=True, attempted_at=timezone.now() - timedelta(minutes=5, seconds=1))

        assert "5 min" in text(root.list("job"))
        assert "so far" in text(root.list("job"))

    def test_the_newest_comes_first(self, root):
        first, second = JobFactory(), JobFactory()

        assert shown(root.list("job")) == [second.pk, first.pk]

    def test_only_the_id_can_be_sorted_by(self, root):
        first, second = JobFactory(kind="b"), JobFactory(kind="a")

        assert shown(root.list("job", o="1")) == [first.pk, second.pk]
        assert shown(root.list("job", o="3")) == [second.pk, first.pk]

    @pytest.mark.parametrize("filters", [{}, {"state": "retryable"}, {"q": "tests"}])
    def test_costs_the_same_for_ten_rows_and_for_a_hundred(self, root, filters):
        JobFactory.create_batch(10, retryable=True)
        root.list("job")
        with CaptureQueriesContext(connection) as ten:
            assert len(shown(root.list("job", **filters))) == 10
        JobFactory.create_batch(90, retryable=True)
        with CaptureQueriesContext(connection) as hundred:
            assert len(shown(root.list("job", **filters))) == 100

        assert len(ten) == len(hundred) <= 12

    def test_leaves_out_the_large_columns(self, root):
        JobFactory()
        with CaptureQueriesContext(connection) as queries:
            root.list("job")
        rows = [query["sql"] for query in queries if '"river_job"."attempt"' in query["sql"]]

        assert len(rows) == 1
        assert not re.search(r'"(args|errors|metadata|attempted_by)"', rows[0])

    def test_an_error_of_the_reader_leads_back_to_the_list(self, root):
        for wrong in ({"state": "no such"}, {"state__exact": "no such"}, {"id__exact": "x"}):
            response = root.list("job", **wrong)
            if wrong == {"state__exact": "no such"} and connection.vendor == "sqlite":
                assert shown(response) == []
                continue
            assert response.status_code == 302, wrong
            assert response.url == url("job", "changelist") + "?e=1"


class TestFilters:
    def test_by_state(self, root):
        jobs = {state.value: JobFactory(state=state).pk for state in State}

        assert choices(root.list("job"), "state") == sorted(jobs)
        for state, pk in jobs.items():
            assert shown(root.list("job", state=state)) == [pk]

    def test_by_queue(self, root):
        QueueFactory(name="emails")
        job = JobFactory(queue="emails")
        JobFactory(queue="default")
        page = root.list("job", queue="emails")

        assert shown(page) == [job.pk]
        assert {"default", "emails"} <= set(choices(page, "queue"))

    def test_by_kind(self, root):
        job = JobFactory(kind="of.another_client")
        JobFactory(kind="tests.work")
        page = root.list("job", kind="of.another_client")

        assert shown(page) == [job.pk]
        assert {"of.another_client", "shop.record"} <= set(choices(page, "kind"))

    def test_what_is_chosen_is_offered_though_nobody_knows_it(self, root):
        page = root.list("job", queue="zzz", kind="zzz")

        assert shown(page) == []
        assert "zzz" in choices(page, "queue")
        assert "zzz" in choices(page, "kind")

    def test_there_are_never_too_many_choices(self, root, monkeypatch):
        monkeypatch.setattr(filters, "CHOICES", 3)
        for name in "abcde":
            QueueFactory(name=name)

        assert choices(root.list("job", queue="e"), "queue") == ["a", "b", "e"]
        assert len(choices(root.list("job"), "queue")) == 2

    def test_they_go_together(self, root):
        job = JobFactory(kind="a", queue="emails", running=True)
        JobFactory(kind="a", queue="emails")
        JobFactory(kind="b", queue="emails", running=True)

        assert shown(root.list("job", kind="a", queue="emails", state="running")) == [job.pk]


class TestSearch:
    def test_finds_an_id(self, root):
        job, _other = JobFactory(), JobFactory()

        assert shown(root.list("job", q=str(job.pk))) == [job.pk]
        assert shown(root.list("job", q=f" #{job.pk} ")) == [job.pk]

    def test_finds_no_part_of_an_id(self, root):
        JobFactory(id=12345)

        assert shown(root.list("job", q="1234")) == []

    @pytest.mark.parametrize("number", ["9" * 19, "9" * 30, "9" * 5000])
    def test_finds_no_impossible_id(self, root, number):
        JobFactory()

        assert shown(root.list("job", q=number)) == []

    def test_finds_words_of_a_kind(self, root):
        job = JobFactory(kind="shop.send_receipt")
        JobFactory(kind="shop.send_newsletter")

        assert shown(root.list("job", q="Receipt")) == [job.pk]
        assert shown(root.list("job", q="send shop receipt")) == [job.pk]
        assert shown(root.list("job", q="receipt newsletter")) == []


class TestCounting:
    @pytest.fixture(autouse=True)
    def _low_limit(self, monkeypatch):
        monkeypatch.setattr(counts, "LIMIT", 150)

    def test_is_exact_up_to_the_limit(self, root):
        JobFactory.create_batch(150)

        assert " 150 jobs" in text(root.list("job"))

    @pytest.mark.sqlite
    def test_says_that_there_are_more(self, root):
        JobFactory.create_batch(151)

        assert "≥150 jobs" in text(root.list("job"))

    @pytest.mark.postgres
    def test_says_about_how_many_there_are(self, root):
        JobFactory.create_batch(250)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE river_job")

        assert "≈250 jobs" in text(root.list("job"))
        assert "≥150 jobs" in text(root.list("job", state="available"))

    def test_turns_pages_up_to_the_limit(self, root, monkeypatch):
        monkeypatch.setattr(counts, "LIMIT", 200)
        JobFactory.create_batch(210)

        assert root.list("job").context["cl"].paginator.num_pages == 2
        assert len(shown(root.list("job", p="2"))) == 100
        assert root.list("job", p="3").status_code == 302

    @override_settings(USE_THOUSAND_SEPARATOR=True)
    def test_leaves_numbers_with_separators_alone(self, root):
        JobFactory.create_batch(151)

        assert " 150 jobs" in text(root.list("job", state="available"))


class TestTimeLimit:
    def test_a_filter_without_an_index_is_stopped(self, root, monkeypatch):
        monkeypatch.setattr(readonly, "READ_SECONDS", 0.001)
        monkeypatch.setattr(filters.StateFilter, "queryset", _endless)
        JobFactory()

        response = root.list("job", state="pending")

        assert response.status_code == 302
        assert response.url == url("job", "changelist")
        assert said(response) == ["This took longer than 0 seconds and was stopped. Filter for less."]

    def test_without_a_filter_there_is_no_way_out(self, root, monkeypatch):
        monkeypatch.setattr(JobList, "get_results", _raise(TooSlow("stopped after 5 s")))

        with pytest.raises(TooSlow):
            root.list("job")

    def test_a_value_that_the_database_refuses_leads_back_to_the_list(self, root, monkeypatch):
        monkeypatch.setattr(JobList, "get_results", _raise(DataError("no such state")))

        assert root.list("job", state__exact="no such").url == url("job", "changelist") + "?e=1"
        with pytest.raises(DataError):
            root.list("job", e="1")


@pytest.mark.postgres
class TestPlans:
    """20,000 jobs, nearly all of them over: no list sorts them or reads them all to show the first hundred."""

    @pytest.fixture(autouse=True)
    def _jobs(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO river_job (state, finalized_at, kind, args, queue) SELECT 'completed', now(), "
                "'kind.' || n % 5, '{}', 'queue_' || n % 3 FROM generate_series(1, 20000) AS n"
            )
            for state in ("available", "running", "retryable", "scheduled"):
                cursor.execute(
                    "INSERT INTO river_job (state, kind, args) "
                    "SELECT %s::river_job_state, 'kind.0', '{}' FROM generate_series(1, 50)",
                    [state],
                )
            cursor.execute("ANALYZE river_job")

    @pytest.mark.parametrize(
        "filters",
        [
            {}, {"o": "1"}, {"p": "5"}, {"state": "completed"}, {"state": "available"}, {"state": "running"},
            {"state": "retryable"}, {"queue": "queue_1"}, {"kind": "kind.1"}, {"q": "77"},
            {"state": "cancelled"}, {"state": "discarded"}, {"state": "completed", "queue": "queue_1"},
        ],
    )  # fmt: skip
    def test_the_rows_come_by_an_index(self, root, filters):
        """Parts of kinds, pending jobs and rare kinds have none: for them there is the time limit."""
        with CaptureQueriesContext(connection) as queries:
            root.list("job", **filters)
        (rows,) = [query["sql"] for query in queries if '"river_job"."attempt"' in query["sql"]]
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {rows.replace('%', '%%')}", [])
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert "Seq Scan" not in plan, plan
        assert "Index" in plan


def _raise(error):
    def raise_it(*given):
        raise error

    return raise_it


def _endless(self, request, queryset):
    """A condition that no database decides in a millisecond."""
    slow = (
        "(SELECT count(*) FROM (WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 9000000) "
        "SELECT n FROM t) AS s) > 0"
    )
    return queryset.extra(where=[slow])

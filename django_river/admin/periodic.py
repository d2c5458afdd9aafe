"""Periodic jobs in force: when each runs next, how the last run ended, which are late; pause, resume, run now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE
from django.contrib.admin.utils import flatten_fieldsets
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_river import periodic_jobs
from django_river.admin import history
from django_river.admin.formats import NOTHING, badge, block, link, moment, span, state_badge
from django_river.admin.readonly import ReadOnlyAdmin, Tool
from django_river.conf import config
from django_river.exceptions import RiverError
from django_river.models import Job, PeriodicJob

#: A page shows so many of the next runs.
RUNS_SHOWN = 5


@admin.register(PeriodicJob)
class PeriodicJobAdmin(ReadOnlyAdmin):
    """What is declared in code; only whether it is paused is decided here."""

    list_display = ("name", "status", "schedule", "next_run", "last_run", "outcome", "last_success")
    sortable_by = ("name",)
    ordering = ("name",)
    search_fields = ("name", "kind")
    list_per_page = 50
    actions = ("pause_jobs", "resume_jobs", "run_jobs")
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": [
                    ("status", "kind", "schedule"),
                    ("last_run", "outcome", "last_success", "expected"),
                    "next_runs",
                    "error_shown",
                ],
                "classes": ["river-fields"],
            },
        ),
    )
    readonly_fields = flatten_fieldsets(fieldsets)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.has_own_permission(request, "pause")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return self.has_own_permission(request, "run")

    # Columns

    @admin.display(description=gettext_lazy("status"))
    def status(self, row: PeriodicJob) -> SafeString:
        badges = [
            badge("paused", _("paused")) if row.is_paused else badge("alive", _("active")),
            badge("stale", _("overdue")) if row.overdue_since else "",
            badge("stale", _("cannot be enqueued")) if row.error else "",
        ]
        return format_html_join(" ", "{}", ((shown,) for shown in badges if shown))

    @admin.display(description=gettext_lazy("next run"))
    def next_run(self, row: PeriodicJob) -> SafeString | str:
        return moment(row.next_run_at)

    @admin.display(description=gettext_lazy("next runs"))
    def next_runs(self, row: PeriodicJob) -> SafeString | str:
        """In the zone of the schedule."""
        runs = [run.isoformat(" ") for run in periodic_jobs.upcoming(row, count=RUNS_SHOWN)]
        return block("\n".join(runs)) if runs else NOTHING

    @admin.display(description=gettext_lazy("last run"))
    def last_run(self, row: PeriodicJob) -> SafeString | str:
        if row.last_job_id is None:
            return NOTHING
        return link(self.row_url(Job, row.last_job_id), moment(row.last_run_at))

    @admin.display(description=gettext_lazy("outcome"))
    def outcome(self, row: PeriodicJob) -> SafeString | str:
        return state_badge(row.last_outcome) if row.last_outcome else NOTHING

    @admin.display(description=gettext_lazy("last success"))
    def last_success(self, row: PeriodicJob) -> SafeString | str:
        return moment(row.last_success_at)

    @admin.display(description=gettext_lazy("expected to succeed within"))
    def expected(self, row: PeriodicJob) -> str:
        return NOTHING if row.expect_success_within is None else span(row.expect_success_within)

    @admin.display(description=gettext_lazy("error"))
    def error_shown(self, row: PeriodicJob) -> SafeString | str:
        return block(row.error) if row.error else NOTHING

    # Pause, resume, run

    @admin.action(description=gettext_lazy("Pause selected periodic jobs"), permissions=["pause"])
    def pause_jobs(self, request: HttpRequest, queryset: QuerySet[PeriodicJob]) -> None:
        self._pause(request, list(queryset))

    @admin.action(description=gettext_lazy("Resume selected periodic jobs"), permissions=["pause"])
    def resume_jobs(self, request: HttpRequest, queryset: QuerySet[PeriodicJob]) -> None:
        self._resume(request, list(queryset))

    @admin.action(description=gettext_lazy("Run selected periodic jobs now"), permissions=["run"])
    def run_jobs(self, request: HttpRequest, queryset: QuerySet[PeriodicJob]) -> None:
        self._run(request, list(queryset))

    def get_tools(self, request: HttpRequest, row: PeriodicJob) -> Sequence[Tool]:
        tools = []
        if self.has_pause_permission(request):
            tools.append(Tool("resume", _("Resume")) if row.is_paused else Tool("pause", _("Pause")))
        if self.has_run_permission(request):
            tools.append(Tool("run", _("Run now")))
        return tools

    def get_urls(self) -> list[URLPattern]:
        own = self.tool_urls(pause=self.pause_view, resume=self.resume_view, run=self.run_view)
        return own + super().get_urls()

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Pause posts to."""
        return self._act_on_one(self._pause, request, object_id, may=self.has_pause_permission(request))

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Resume posts to."""
        return self._act_on_one(self._resume, request, object_id, may=self.has_pause_permission(request))

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Run now posts to."""
        return self._act_on_one(self._run, request, object_id, may=self.has_run_permission(request))

    def _act_on_one(
        self,
        change: Callable[[HttpRequest, list[PeriodicJob]], None],
        request: HttpRequest,
        object_id: str,
        *,
        may: bool,
    ) -> HttpResponse:
        row = self.row_for_tool(request, object_id, may=may)
        if isinstance(row, HttpResponse):
            return row
        change(request, [row])
        return HttpResponseRedirect(self.row_url(PeriodicJob, row.name))

    def _pause(self, request: HttpRequest, rows: list[PeriodicJob]) -> None:
        done = self._steer(request, rows, periodic_jobs.pause, _("Paused."))
        self._say(
            request, done, ngettext("Paused %(count)d periodic job.", "Paused %(count)d periodic jobs.", done)
        )

    def _resume(self, request: HttpRequest, rows: list[PeriodicJob]) -> None:
        done = self._steer(request, rows, periodic_jobs.resume, _("Resumed."))
        self._say(
            request,
            done,
            ngettext("Resumed %(count)d periodic job.", "Resumed %(count)d periodic jobs.", done),
        )

    def _run(self, request: HttpRequest, rows: list[PeriodicJob]) -> None:
        done = self._steer(request, rows, periodic_jobs.run, _("Run by hand."))
        self._say(request, done, ngettext("Enqueued %(count)d run.", "Enqueued %(count)d runs.", done))

    def _steer(
        self, request: HttpRequest, rows: list[PeriodicJob], verb: Callable[..., object], message: str
    ) -> int:
        """Do it to each and keep it in the log; how many were changed. Those that had no need are told of."""
        done: list[PeriodicJob] = []
        for row in rows:
            try:
                if verb(row.name, using=config().database):
                    done.append(row)
            except RiverError as problem:
                # Its arguments are refused, or this site does not declare it.
                self.message_user(request, str(problem), messages.ERROR)
                continue
            if row not in done:
                text = _("Skipped %(name)s: it was so already.")
                self.message_user(request, text % {"name": row.name}, messages.WARNING)
        history.keep_all(request, PeriodicJob, done, flag=CHANGE, message=message)
        return len(done)

    def _say(self, request: HttpRequest, done: int, text: str) -> None:
        if done:
            self.message_user(request, text % {"count": done}, messages.SUCCESS)

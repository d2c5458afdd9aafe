"""Jobs: the list, a job's page, and what may be done with them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils.translation import gettext_lazy

from django_river.admin.counts import BoundedPaginator
from django_river.admin.filters import KindFilter, QueueFilter, StateFilter
from django_river.admin.job_actions import ACTIONS, CANCEL, DELETE, RETRY, JobAction, Preview, perform
from django_river.admin.job_columns import JobColumns
from django_river.admin.readonly import Tool
from django_river.models import Job

#: An id has no more digits.
ID_DIGITS = 19


class JobList(ChangeList):
    """The list's rows without their large columns."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Job]:
        jobs: QuerySet[Job] = super().get_queryset(request, exclude_parameters)
        return jobs.defer("args", "metadata", "errors", "attempted_by", "tags", "unique_key", "unique_states")


@admin.register(Job)
class JobAdmin(JobColumns):
    """Nothing is edited; jobs are retried, cancelled and deleted by :mod:`django_river.operations`."""

    list_display = (
        "id", "state_shown", "kind_shown", "queue_shown", "attempt_shown", "created_shown", "duration_shown",
        "scheduled_shown", "finalized_shown", "priority_shown",
    )  # fmt: skip
    list_display_links = ("id", "kind_shown")
    list_filter = (StateFilter, QueueFilter, KindFilter)
    paginator = BoundedPaginator
    # Only the primary key gives an order without sorting the table.
    ordering = ("-id",)
    sortable_by = ("id",)
    search_fields = ("id", "kind")
    search_help_text = gettext_lazy("An id, or a part of a kind.")
    actions = ("retry_jobs", "cancel_jobs", "delete_jobs")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        jobs: QuerySet[Any] = super().get_queryset(request).annotate(database_now=Now())
        return jobs

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find by id exactly (also as ``#12``), or by words that the kind contains."""
        number = search_term.strip().removeprefix("#")
        if number.isdecimal():
            return queryset.filter(pk=int(number[: ID_DIGITS + 1])), False
        for word in search_term.split():
            queryset = queryset.filter(kind__icontains=word)
        return queryset, False

    @admin.action(description=gettext_lazy("Retry selected jobs"), permissions=["retry"])
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._act_on_many(RETRY, request, queryset)

    @admin.action(description=gettext_lazy("Cancel selected jobs"), permissions=["cancel"])
    def cancel_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._act_on_many(CANCEL, request, queryset)

    @admin.action(description=gettext_lazy("Delete selected jobs"), permissions=["delete"])
    def delete_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        return self._act_on_many(DELETE, request, queryset)

    # A job's page

    def get_fieldsets(self, request: HttpRequest, obj: Job | None = None) -> Any:
        wide, row = {"classes": ["river-wide"]}, {"classes": ["river-fields"]}
        what: list[Any] = [
            ("state_in_full", "attempt_shown", "priority_shown"),
            ("kind_in_full", "queue_in_full"),
        ]
        times = (
            "created_in_full", "scheduled_in_full", "attempted_in_full", "finalized_in_full", "duration_shown",
        )  # fmt: skip
        fieldsets: list[tuple[Any, dict[str, Any]]] = [
            (None, {"fields": [*what, "tags_shown"] if obj and obj.tags else what, **row}),
            (gettext_lazy("Times"), {"fields": [times], **row}),
        ]
        if obj and (obj.attempt or obj.errors):
            fieldsets.append((gettext_lazy("Attempts"), {"fields": ["attempts_shown"], **wide}))
        fieldsets.append((gettext_lazy("Arguments"), {"fields": ["args_shown"], **wide}))
        if obj and obj.heartbeat is not None:
            said: Any = [("progress_shown", "note_shown", "heartbeat_shown")]
            fieldsets.insert(2, (gettext_lazy("Progress"), {"fields": said, **row}))
        if obj and "output" in obj.metadata:
            fieldsets.append((gettext_lazy("Output"), {"fields": ["output_shown"], **wide}))
        fieldsets.append((gettext_lazy("Metadata"), {"fields": ["metadata_shown"], **wide}))
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Job | None = None) -> Any:
        return flatten_fieldsets(self.get_fieldsets(request, obj))

    def get_tools(self, request: HttpRequest, row: Job) -> Sequence[Tool]:
        return [
            Tool(action.name, action.label, is_dangerous=action.is_dangerous)
            for action in ACTIONS
            if action.applies_to(row) and self._may(action, request)
        ]

    def get_urls(self) -> list[URLPattern]:
        # Deletion has an address already; see delete_view.
        return self.tool_urls(retry=self.retry_view, cancel=self.cancel_view) + super().get_urls()

    def retry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Retry posts to."""
        return self._act_on_one(RETRY, request, object_id)

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Cancel posts to."""
        return self._act_on_one(CANCEL, request, object_id)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the button Delete posts to, in place of Django's view that deletes whatever runs."""
        return self._act_on_one(DELETE, request, object_id)

    # Permissions

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.has_own_permission(request, "retry")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.has_own_permission(request, "cancel")

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return self.has_own_permission(request, "delete")

    def _may(self, action: JobAction, request: HttpRequest) -> bool:
        return bool(getattr(self, f"has_{action.name}_permission")(request))

    # Doing it

    def _act_on_many(
        self, action: JobAction, request: HttpRequest, jobs: QuerySet[Job]
    ) -> HttpResponse | None:
        is_across = request.POST.get("select_across") == "1"
        if (action.always_asks or is_across) and "confirmed" not in request.POST:
            selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
            hidden = [("action", f"{action.name}_jobs"), ("select_across", "1" if is_across else "0")]
            # Django wants at least one, even where all are meant.
            hidden += [(ACTION_CHECKBOX_NAME, pk) for pk in (selected[:1] if is_across else selected)]
            return self._ask(action, request, jobs, hidden=hidden, back=request.get_full_path())
        self._perform(action, request, jobs)
        return None

    def _act_on_one(self, action: JobAction, request: HttpRequest, object_id: str) -> HttpResponse:
        job = self.row_for_tool(request, object_id, may=self._may(action, request))
        if isinstance(job, HttpResponse):
            return job
        jobs = self.get_queryset(request).filter(pk=job.pk)
        filters: dict[str, Any] = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        page = add_preserved_filters(filters, self.row_url(Job, job.pk))
        if action.always_asks and action.applies_to(job) and "confirmed" not in request.POST:
            return self._ask(action, request, jobs, hidden=[], back=page)
        self._perform(action, request, jobs)
        is_gone = not jobs.exists()
        return HttpResponseRedirect(add_preserved_filters(filters, self.list_url(Job)) if is_gone else page)

    def _ask(
        self,
        action: JobAction,
        request: HttpRequest,
        jobs: QuerySet[Job],
        *,
        hidden: list[tuple[str, str]],
        back: str,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": action.title,
            "opts": self.opts,
            "media": self.media,
            "action": action,
            "preview": Preview.of(action, jobs),
            "hidden": hidden,
            "back": back,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_river/job/confirm.html", context)

    def _perform(self, action: JobAction, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        for level, text in perform(action, request, jobs):
            self.message_user(request, text, level)

"""Queues: how full they are, what holds for them, and their brake.

A queue of the settings, or one that was added, has a row once a client has worked it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_river import queues, storage
from django_river.admin import history
from django_river.admin.formats import NOTHING, badge, link, moment, pretty_json, span
from django_river.admin.readonly import READ_SECONDS, ReadOnlyAdmin, Tool
from django_river.conf import config
from django_river.jobs.states import State
from django_river.models import Job, Queue
from django_river.queue_options import NAMES, Autoscale, RateLimit
from django_river.storage.overview import AVAILABLE_LIMIT, QueueDepth, TooSlow


class QueueList(ChangeList):
    """Queues with their depths, which one statement finds for the whole page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = with_infos(with_depths(self.result_list))


def with_depths(rows: Any) -> list[Queue]:
    """Give each queue its ``depth``: ``None`` if the database takes too long to say."""
    found = list(rows)
    people = storage.for_people(config().database)
    try:
        with people.time_limit(READ_SECONDS):
            depths = people.queue_depths([queue.name for queue in found])
    except TooSlow:
        depths = {}
    for queue in found:
        queue.depth = depths.get(queue.name)
    return found


def with_infos(rows: list[Any]) -> list[Queue]:
    """Give each queue its ``info``: what holds for it; ``None`` if it is removed."""
    infos = {info.name: info for info in queues.list([row.name for row in rows], using=config().database)}
    for queue in rows:
        queue.info = infos.get(queue.name)
    return rows


@admin.register(Queue)
class QueueAdmin(ReadOnlyAdmin):
    """Queues are paused and resumed, on every client at once; jobs that run finish."""

    list_display = ("name", "status", "available", "waiting", "running", "later", "worked_at")
    sortable_by = ("name",)
    ordering = ("name",)
    search_fields = ("name",)
    list_per_page = 50
    actions = ("pause_queues", "resume_queues")
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": [
                    ("status", "jobs"),
                    ("available", "waiting", "running", "later"),
                    ("created", "worked_at"),
                ],
                "classes": ["river-fields"],
            },
        ),
        (
            gettext_lazy("Settings"),
            {"fields": ["settings_shown", ("workers", "awaited")], "classes": ["river-fields"]},
        ),
        (gettext_lazy("Metadata"), {"fields": ["metadata_shown"], "classes": ["river-wide"]}),
    )
    readonly_fields = flatten_fieldsets(fieldsets)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QueueList

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Queue | None:
        queue: Queue | None = super().get_object(request, object_id, from_field)
        return with_infos(with_depths([queue]))[0] if queue is not None else None

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.has_own_permission(request, "pause")

    # Columns

    @admin.display(description=gettext_lazy("status"))
    def status(self, queue: Queue) -> SafeString:
        info = _info(queue)
        if info is None:
            return badge("stale", _("removed"))
        if info.removal:
            return format_html("{} ({})", badge("stale", _("being removed")), info.removal)
        if queue.paused_at is None:
            return badge("alive", _("active"))
        paused = badge("paused", _("paused"))
        if info.resume_at is None:
            return format_html(_("{} since {}"), paused, moment(queue.paused_at))
        return format_html(_("{} since {} until {}"), paused, moment(queue.paused_at), moment(info.resume_at))

    @admin.display(description=gettext_lazy("available"))
    def available(self, queue: Queue) -> SafeString | str:
        return self._count(queue, State.AVAILABLE, lambda depth: _bounded(depth.available))

    @admin.display(description=gettext_lazy("oldest waits for"))
    def waiting(self, queue: Queue) -> str:
        depth = _depth(queue)
        return span(depth.waiting_seconds) if depth else NOTHING

    @admin.display(description=gettext_lazy("running"))
    def running(self, queue: Queue) -> SafeString | str:
        return self._count(queue, State.RUNNING, lambda depth: str(depth.running))

    @admin.display(description=gettext_lazy("scheduled or retryable"))
    def later(self, queue: Queue) -> str:
        depth = _depth(queue)
        if depth is None:
            return "?"
        return str(depth.later) if depth.later_is_exact else f"≥{depth.later}"

    @admin.display(description=gettext_lazy("jobs"))
    def jobs(self, queue: Queue) -> SafeString | str:
        return link(self.list_url(Job, queue=queue.name), _("all jobs of this queue"))

    @admin.display(description=gettext_lazy("created"))
    def created(self, queue: Queue) -> SafeString | str:
        return moment(queue.created_at)

    @admin.display(description=gettext_lazy("last worked"))
    def worked_at(self, queue: Queue) -> SafeString | str:
        return moment(queue.updated_at)

    @admin.display(description=gettext_lazy("settings"))
    def settings_shown(self, queue: Queue) -> SafeString | str:
        """What holds, and where each comes from, as ``river_queues list`` has it."""
        info = _info(queue)
        if info is None:
            return NOTHING
        rows = [
            (name, _shown(getattr(info.config, name)), info.origins[name])
            for name in NAMES
            if info.origins[name] != "default" or name == "max_workers"
        ]
        return format_html(
            '<table><thead><tr><th scope="col">{}</th><th scope="col">{}</th><th scope="col">{}</th></tr></thead>{}</table>',
            _("setting"),
            _("value"),
            _("from"),
            format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows),
        )

    @admin.display(description=gettext_lazy("worked by"))
    def workers(self, queue: Queue) -> str:
        """The clients that have applied what holds, with their slots."""
        info = _info(queue)
        applied = info.applied_by if info is not None else {}
        return (
            ", ".join(
                _("%(id)s (%(slots)d slots)") % {"id": id, "slots": applied[id]} for id in sorted(applied)
            )
            or NOTHING
        )

    @admin.display(description=gettext_lazy("not yet applied by"))
    def awaited(self, queue: Queue) -> str:
        info = _info(queue)
        return ", ".join(sorted(info.awaited) if info is not None else ()) or NOTHING

    @admin.display(description=gettext_lazy("metadata"))
    def metadata_shown(self, queue: Queue) -> SafeString:
        return pretty_json(queue.metadata)

    def _count(self, queue: Queue, state: State, shown: Callable[[QueueDepth], str]) -> SafeString | str:
        depth = _depth(queue)
        if depth is None:
            return "?"
        url = self.list_url(Job, queue=queue.name, state=state.value)
        return link(url, shown(depth))

    # Pause and resume

    @admin.action(description=gettext_lazy("Pause selected queues"), permissions=["pause"])
    def pause_queues(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        self._pause(request, list(queryset))

    @admin.action(description=gettext_lazy("Resume selected queues"), permissions=["pause"])
    def resume_queues(self, request: HttpRequest, queryset: QuerySet[Queue]) -> None:
        self._resume(request, list(queryset))

    def get_tools(self, request: HttpRequest, row: Queue) -> Sequence[Tool]:
        if not self.has_pause_permission(request):
            return ()
        if row.is_paused:
            return [Tool("resume", _("Resume"))]
        return [Tool("pause", _("Pause"))]

    def get_urls(self) -> list[URLPattern]:
        return self.tool_urls(pause=self.pause_view, resume=self.resume_view) + super().get_urls()

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Pause posts to."""
        return self._act_on_one(self._pause, request, object_id)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button Resume posts to."""
        return self._act_on_one(self._resume, request, object_id)

    def _act_on_one(
        self, change: Callable[[HttpRequest, list[Queue]], None], request: HttpRequest, object_id: str
    ) -> HttpResponse:
        queue = self.row_for_tool(request, object_id, may=self.has_pause_permission(request))
        if isinstance(queue, HttpResponse):
            return queue
        change(request, [queue])
        return HttpResponseRedirect(self.row_url(Queue, queue.name))

    def _pause(self, request: HttpRequest, rows: list[Queue]) -> None:
        done, skipped = self._steer(request, rows, queues.pause, _("Paused."))
        if done:
            text = ngettext("Paused %(count)d queue.", "Paused %(count)d queues.", done)
            self.message_user(request, text % {"count": done}, messages.SUCCESS)
        if skipped:
            text = ngettext(
                "Skipped %(count)d queue: already paused.",
                "Skipped %(count)d queues: already paused.",
                skipped,
            )
            self.message_user(request, text % {"count": skipped}, messages.WARNING)

    def _resume(self, request: HttpRequest, rows: list[Queue]) -> None:
        done, skipped = self._steer(request, rows, queues.resume, _("Resumed."))
        if done:
            text = ngettext("Resumed %(count)d queue.", "Resumed %(count)d queues.", done)
            self.message_user(request, text % {"count": done}, messages.SUCCESS)
        if skipped:
            text = ngettext(
                "Skipped %(count)d queue: not paused.", "Skipped %(count)d queues: not paused.", skipped
            )
            self.message_user(request, text % {"count": skipped}, messages.WARNING)

    def _steer(
        self, request: HttpRequest, rows: list[Queue], verb: Callable[..., list[str]], message: str
    ) -> tuple[int, int]:
        """Do it to each queue and keep it in the log; how many were changed, and how many had no need."""
        done: list[Queue] = []
        refused = 0
        for queue in rows:
            try:
                if verb(queue.name, using=config().database):
                    done.append(queue)
            except ValueError as problem:
                # Another River client may have made a queue whose name is none by River's own rules.
                refused += 1
                self.message_user(request, str(problem), messages.ERROR)
        history.keep_all(request, Queue, done, flag=CHANGE, message=message)
        return len(done), len(rows) - len(done) - refused


def _depth(queue: Queue) -> QueueDepth | None:
    depth: QueueDepth | None = getattr(queue, "depth", None)
    return depth


def _info(queue: Queue) -> queues.QueueInfo | None:
    info: queues.QueueInfo | None = getattr(queue, "info", None)
    return info


def _shown(value: Any) -> str:
    if isinstance(value, RateLimit):
        return str(value)
    return json.dumps(value.as_dict() if isinstance(value, Autoscale) else value)


def _bounded(count: int) -> str:
    return f"≥{count}" if count >= AVAILABLE_LIMIT else str(count)

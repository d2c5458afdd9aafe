"""A job's values as the list and the job's page show them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_river.admin.attempts import LIMIT, attempts
from django_river.admin.formats import (
    NOTHING,
    badge,
    block,
    link,
    moment,
    parse_moment,
    pretty_json,
    short_moment,
    span,
    state_badge,
)
from django_river.admin.readonly import ReadOnlyAdmin
from django_river.conf import config
from django_river.jobs.states import State
from django_river.models import Client, Job, Queue


class JobColumns(ReadOnlyAdmin):
    """Columns for the list, and the same in full for the page."""

    @admin.display(description=gettext_lazy("state"))
    def state_shown(self, job: Job) -> SafeString:
        return state_badge(job.state)

    @admin.display(description=gettext_lazy("kind"))
    def kind_shown(self, job: Job) -> str:
        return job.kind

    @admin.display(description=gettext_lazy("queue"))
    def queue_shown(self, job: Job) -> str:
        return job.queue

    @admin.display(description=gettext_lazy("attempt"))
    def attempt_shown(self, job: Job) -> str:
        return f"{job.attempt}/{job.max_attempts}"

    @admin.display(description=gettext_lazy("priority"))
    def priority_shown(self, job: Job) -> int:
        return job.priority

    @admin.display(description=gettext_lazy("created"))
    def created_shown(self, job: Job) -> SafeString | str:
        return short_moment(job.created_at)

    @admin.display(description=gettext_lazy("scheduled"))
    def scheduled_shown(self, job: Job) -> SafeString | str:
        return short_moment(job.scheduled_at)

    @admin.display(description=gettext_lazy("finished"))
    def finalized_shown(self, job: Job) -> SafeString | str:
        return short_moment(job.finalized_at)

    @admin.display(description=gettext_lazy("duration"))
    def duration_shown(self, job: Any) -> str:
        """Of an attempt that goes on or went well; of others the row does not say when they ended."""
        if job.attempted_at is None:
            return NOTHING
        if job.state == State.RUNNING:
            return _("%(span)s so far") % {"span": span(job.database_now - job.attempted_at)}
        return span(job.finalized_at - job.attempted_at) if job.state == State.COMPLETED else NOTHING

    @admin.display(description=gettext_lazy("state"))
    def state_in_full(self, job: Job) -> SafeString:
        asked_at = parse_moment(job.metadata.get("cancel_attempted_at"))
        if job.state != State.RUNNING or asked_at is None:
            return state_badge(job.state)
        asked = format_html(_("asked to stop at {}"), moment(asked_at))
        return format_html('{} <span class="river-quiet">{}</span>', state_badge(job.state), asked)

    @admin.display(description=gettext_lazy("kind"))
    def kind_in_full(self, job: Job) -> SafeString | str:
        url = self.list_url(Job, kind=job.kind)
        return format_html(
            '{} <a class="river-more" href="{}">{}</a>', job.kind, url, _("all jobs of this kind")
        )

    @admin.display(description=gettext_lazy("queue"))
    def queue_in_full(self, job: Job) -> SafeString | str:
        url = self.list_url(Job, queue=job.queue)
        queue = link(self.row_url(Queue, job.queue), job.queue)
        return format_html(
            '{} <a class="river-more" href="{}">{}</a>', queue, url, _("all jobs of this queue")
        )

    @admin.display(description=gettext_lazy("created"))
    def created_in_full(self, job: Job) -> SafeString | str:
        return moment(job.created_at)

    @admin.display(description=gettext_lazy("scheduled"))
    def scheduled_in_full(self, job: Job) -> SafeString | str:
        return moment(job.scheduled_at)

    @admin.display(description=gettext_lazy("last begun"))
    def attempted_in_full(self, job: Job) -> SafeString | str:
        return moment(job.attempted_at)

    @admin.display(description=gettext_lazy("finished"))
    def finalized_in_full(self, job: Job) -> SafeString | str:
        return moment(job.finalized_at)

    @admin.display(description=gettext_lazy("progress"))
    def progress_shown(self, job: Job) -> SafeString | str:
        said = job.heartbeat
        if said is None or said.progress is None:
            return NOTHING
        percent = f"{100 * said.progress:.0f}"
        return format_html('<progress max="100" value="{}"></progress> {} %', percent, percent)

    @admin.display(description=gettext_lazy("note"))
    def note_shown(self, job: Job) -> str:
        return (job.heartbeat.note if job.heartbeat is not None else None) or NOTHING

    @admin.display(description=gettext_lazy("last heartbeat"))
    def heartbeat_shown(self, job: Job) -> SafeString | str:
        said = job.heartbeat
        if said is None or said.at is None:
            return NOTHING
        stuck = badge("failed", _("stuck")) if said.is_stuck and job.state == State.RUNNING else ""
        return format_html("{} {}", moment(said.at), stuck)

    @admin.display(description=gettext_lazy("tags"))
    def tags_shown(self, job: Job) -> str:
        return ", ".join(job.tags) or NOTHING

    @admin.display(description=gettext_lazy("arguments"))
    def args_shown(self, job: Job) -> SafeString:
        return pretty_json(job.args)

    @admin.display(description=gettext_lazy("output"))
    def output_shown(self, job: Job) -> SafeString:
        return pretty_json(job.metadata.get("output"))

    @admin.display(description=gettext_lazy("metadata"))
    def metadata_shown(self, job: Job) -> SafeString:
        return pretty_json({key: value for key, value in job.metadata.items() if key != "output"})

    @admin.display(description=gettext_lazy("attempts"))
    def attempts_shown(self, job: Job) -> SafeString:
        known = attempts(job)
        ids = {attempt.client_id for attempt in known}
        present = set(Client.objects.using(config().database).filter(pk__in=ids).values_list("pk", flat=True))
        rows = [
            {
                "number": NOTHING if attempt.number is None else attempt.number,
                "at": moment(attempt.at),
                "client": link(
                    self.row_url(Client, attempt.client_id) if attempt.client_id in present else "",
                    attempt.client_id or NOTHING,
                ),
                "outcome": state_badge(attempt.state) if attempt.state else badge("failed", _("failed")),
                "error": attempt.error,
                "trace": block(attempt.trace) if attempt.trace else "",
            }
            for attempt in known[:LIMIT]
        ]
        context = {"attempts": rows, "left_out": len(known) - len(rows)}
        return render_to_string("admin/django_river/job/attempts.html", context)

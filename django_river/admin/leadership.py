"""Leadership: who runs maintenance, since when, for how long the lease still holds; and who did before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE
from django.contrib.admin.utils import flatten_fieldsets
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_river.admin import history
from django_river.admin.clients import troubles_of
from django_river.admin.formats import NOTHING, badge, moment, pretty_json, span
from django_river.admin.readonly import ReadOnlyAdmin, Tool
from django_river.conf import config
from django_river.leadership import request_resign
from django_river.models import Client, Leader, LeaderTerm
from django_river.terms import ORDERLY


@admin.register(Leader)
class LeaderAdmin(ReadOnlyAdmin):
    """One row, or none: then no client leads, and one will within seconds if any may. It can be asked to resign."""

    list_display = ("client", "status", "since", "lease", "host", "pid", "troubles")
    sortable_by = ()
    ordering = ("name",)
    actions = ("ask_to_resign",)
    readonly_fields = list_display
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": [("status", "since", "lease"), ("host", "pid"), "troubles"],
                "classes": ["river-fields"],
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        client = Client.objects.using(queryset.db).filter(pk=OuterRef("leader_id"))
        annotated: QuerySet[Any] = queryset.annotate(
            database_now=Now(),
            client_host=Subquery(client.values("host")[:1]),
            client_pid=Subquery(client.values("pid")[:1]),
            client_troubles=Subquery(client.values("troubles")[:1]),
        )
        return annotated

    @admin.display(description=gettext_lazy("client"))
    def client(self, leader: Any) -> str:
        return str(leader.leader_id)

    @admin.display(description=gettext_lazy("status"))
    def status(self, leader: Any) -> SafeString:
        return badge("stale", _("expired")) if _left(leader) < 0 else badge("alive", _("leads"))

    @admin.display(description=gettext_lazy("since"))
    def since(self, leader: Any) -> SafeString | str:
        return moment(leader.elected_at)

    @admin.display(description=gettext_lazy("lease"))
    def lease(self, leader: Any) -> str:
        left = _left(leader)
        text = _("expires in %(span)s") if left >= 0 else _("expired %(span)s ago")
        return text % {"span": span(abs(left))}

    @admin.display(description=gettext_lazy("host"))
    def host(self, leader: Any) -> SafeString | str:
        """From the leader's own row; another River client has none."""
        return leader.client_host or NOTHING

    @admin.display(description=gettext_lazy("pid"))
    def pid(self, leader: Any) -> int | str:
        return NOTHING if leader.client_pid is None else leader.client_pid

    @admin.display(description=gettext_lazy("troubles"))
    def troubles(self, leader: Any) -> SafeString | str:
        """Parts of the leader that fail, its services among them, as of its last heartbeat."""
        return troubles_of(leader.client_troubles or {})

    # Resigning

    def has_resign_permission(self, request: HttpRequest) -> bool:
        return self.has_own_permission(request, "resign")

    @admin.action(description=gettext_lazy("Ask to resign"), permissions=["resign"])
    def ask_to_resign(self, request: HttpRequest, queryset: QuerySet[Leader]) -> None:
        self._ask(request, list(queryset))

    def get_tools(self, request: HttpRequest, row: Leader) -> Sequence[Tool]:
        return [Tool("resign", _("Ask to resign"))] if self.has_resign_permission(request) else ()

    def get_urls(self) -> list[URLPattern]:
        return self.tool_urls(resign=self.resign_view) + super().get_urls()

    def resign_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the button posts to."""
        leader = self.row_for_tool(request, object_id, may=self.has_resign_permission(request))
        if isinstance(leader, HttpResponse):
            return leader
        self._ask(request, [leader])
        return HttpResponseRedirect(self.list_url(Leader))

    def _ask(self, request: HttpRequest, rows: list[Leader]) -> None:
        asked = request_resign(using=config().database) if rows else None
        if asked is None:
            self.message_user(request, _("Nobody leads, so nobody was asked."), messages.WARNING)
            return
        history.keep_all(request, Leader, rows, flag=CHANGE, message=_("Asked to resign."))
        text = _("Asked %(client)s to resign. Another client leads in a moment, if one may.")
        self.message_user(request, text % {"client": asked}, messages.SUCCESS)


@admin.register(LeaderTerm)
class LeaderTermAdmin(ReadOnlyAdmin):
    """Who led, from when until when, and why it ended. The newest is at the top."""

    list_display = ("client_id", "status", "began", "ended", "lasted", "host", "pid")
    sortable_by = ()
    ordering = ("-id",)
    search_fields = ("client_id", "host")
    list_per_page = 50
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": [("status", "lasted"), ("began", "ended"), ("host", "pid"), "labels_shown"],
                "classes": ["river-fields"],
            },
        ),
    )
    readonly_fields = flatten_fieldsets(fieldsets)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        annotated: QuerySet[Any] = super().get_queryset(request).annotate(database_now=Now())
        return annotated

    @admin.display(description=gettext_lazy("status"))
    def status(self, term: LeaderTerm) -> SafeString:
        if term.ended_at is None:
            return badge("alive", _("leads"))
        return badge("completed" if term.why in ORDERLY else "stale", term.why)

    @admin.display(description=gettext_lazy("elected"))
    def began(self, term: LeaderTerm) -> SafeString | str:
        return moment(term.elected_at)

    @admin.display(description=gettext_lazy("ended"))
    def ended(self, term: LeaderTerm) -> SafeString | str:
        return moment(term.ended_at)

    @admin.display(description=gettext_lazy("lasted"))
    def lasted(self, term: Any) -> str:
        return span((term.ended_at or term.database_now) - term.elected_at)

    @admin.display(description=gettext_lazy("labels"))
    def labels_shown(self, term: LeaderTerm) -> SafeString:
        return pretty_json(term.labels)


def _left(leader: Any) -> float:
    return float((leader.expires_at - leader.database_now).total_seconds())

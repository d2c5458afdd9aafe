"""Leadership: who runs maintenance, since when, and for how long the lease still holds."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_river.admin.formats import NOTHING, badge, moment, span
from django_river.admin.readonly import ReadOnlyAdmin
from django_river.models import Client, Leader


@admin.register(Leader)
class LeaderAdmin(ReadOnlyAdmin):
    """One row, or none: then no client leads, and one will within seconds if any may."""

    list_display = ("client", "status", "since", "lease", "host", "pid")
    sortable_by = ()
    ordering = ("name",)
    readonly_fields = list_display
    fieldsets: ClassVar[Any] = (
        (None, {"fields": [("status", "since", "lease"), ("host", "pid")], "classes": ["river-fields"]}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        queryset = super().get_queryset(request)
        client = Client.objects.using(queryset.db).filter(pk=OuterRef("leader_id"))
        annotated: QuerySet[Any] = queryset.annotate(
            database_now=Now(),
            client_host=Subquery(client.values("host")[:1]),
            client_pid=Subquery(client.values("pid")[:1]),
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


def _left(leader: Any) -> float:
    return float((leader.expires_at - leader.database_now).total_seconds())

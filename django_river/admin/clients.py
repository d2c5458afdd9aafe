"""Clients: who is running, where, and how busy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_river import storage
from django_river.admin.formats import NOTHING, badge, moment, short_moment, span
from django_river.admin.readonly import READ_SECONDS, ReadOnlyAdmin
from django_river.conf import config
from django_river.models import Client
from django_river.storage.overview import TooSlow

#: The list names so many queues of a client.
QUEUES_NAMED = 5
BREAK = mark_safe("<br>")


class ClientList(ChangeList):
    """Clients with what they run, which one statement finds for the whole page."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = with_loads(self.result_list)


def with_loads(rows: Any) -> list[Client]:
    """Give each client its ``load``: ``None`` if the database takes too long to say."""
    found = list(rows)
    people = storage.for_people(config().database)
    loads: dict[str, int] | None
    try:
        with people.time_limit(READ_SECONDS):
            loads = people.client_loads()
    except TooSlow:
        loads = None
    for client in found:
        client.load = None if loads is None else loads.get(client.pk, 0)
    return found


def troubles_of(troubles: Mapping[str, str]) -> SafeString | str:
    """A line for each part that fails."""
    lines = ((name, text) for name, text in sorted(troubles.items()))
    return format_html_join(BREAK, "{}: {}", lines) or NOTHING


def is_alive(client: Any) -> bool:
    """Whether its heartbeat is fresh, by the database's clock."""
    return bool((client.database_now - client.heartbeat_at).total_seconds() < config().client_timeout)


@admin.register(Client)
class ClientAdmin(ReadOnlyAdmin):
    """Clients come and go by themselves; a stale one was killed, or has lost the database."""

    list_display = ("id", "status", "load", "queues_shown", "started", "heartbeat", "host", "pid", "version")
    sortable_by = ("id", "host", "version")
    ordering = ("host", "id")
    search_fields = ("id", "host")
    fieldsets: ClassVar[Any] = (
        (
            None,
            {
                "fields": [
                    ("status", "load", "election"),
                    ("host", "pid", "version"),
                    ("started_in_full", "heartbeat"),
                    "all_queues",
                    "labels_shown",
                    "troubles_shown",
                ],
                "classes": ["river-fields"],
            },
        ),
    )
    readonly_fields = flatten_fieldsets(fieldsets)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ClientList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        annotated: QuerySet[Any] = super().get_queryset(request).annotate(database_now=Now())
        return annotated

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Client | None:
        client: Client | None = super().get_object(request, object_id, from_field)
        return with_loads([client])[0] if client is not None else None

    @admin.display(description=gettext_lazy("status"))
    def status(self, client: Client) -> SafeString:
        if not is_alive(client):
            return badge("stale", _("stale"))
        return badge("failed", _("in trouble")) if client.troubles else badge("alive", _("alive"))

    @admin.display(description=gettext_lazy("runs"))
    def load(self, client: Client) -> str:
        load = getattr(client, "load", None)
        return f"{'?' if load is None else load}/{client.slots}"

    @admin.display(description=gettext_lazy("queues"))
    def queues_shown(self, client: Client) -> str:
        names = ", ".join(client.queues[:QUEUES_NAMED]) or NOTHING
        rest = len(client.queues) - QUEUES_NAMED
        return _("%(names)s and %(count)d more") % {"names": names, "count": rest} if rest > 0 else names

    @admin.display(description=gettext_lazy("queues"))
    def all_queues(self, client: Client) -> str:
        return ", ".join(client.queues) or NOTHING

    @admin.display(description=gettext_lazy("election"))
    def election(self, client: Client) -> str:
        """Whether it stands, and how much it is wanted; or why it does not."""
        if not client.can_lead:
            return client.objection or _("no candidate")
        return _("candidate, preference %(preference)d") % {"preference": client.preference}

    @admin.display(description=gettext_lazy("labels"))
    def labels_shown(self, client: Client) -> str:
        return ", ".join(f"{name}={value}" for name, value in sorted(client.labels.items())) or NOTHING

    @admin.display(description=gettext_lazy("troubles"))
    def troubles_shown(self, client: Client) -> SafeString | str:
        """Parts that fail, as of the last heartbeat."""
        return troubles_of(client.troubles)

    @admin.display(description=gettext_lazy("started"))
    def started(self, client: Client) -> SafeString | str:
        return short_moment(client.started_at)

    @admin.display(description=gettext_lazy("started"))
    def started_in_full(self, client: Client) -> SafeString | str:
        return moment(client.started_at)

    @admin.display(description=gettext_lazy("last heartbeat"))
    def heartbeat(self, client: Any) -> SafeString:
        age = span(client.database_now - client.heartbeat_at)
        return format_html(
            '<time datetime="{}" title="{}">{}</time>',
            client.heartbeat_at.isoformat(), client.heartbeat_at, _("%(span)s ago") % {"span": age},
        )  # fmt: skip

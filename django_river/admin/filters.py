"""The filters beside the list of jobs. Their choices never come from a look through the jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.admin import SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_river.admin.formats import STATE_LABELS
from django_river.conf import config
from django_river.jobs.registry import registry
from django_river.jobs.states import State
from django_river.models import Job, Queue

#: No list of choices is longer.
CHOICES = 100
#: Kinds are also looked for in so many of the newest jobs: another River client may work kinds that we do not know.
NEWEST = 1000


class ChoiceFilter(SimpleListFilter):
    """A filter by one column, with choices that are known without looking at the jobs."""

    column: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else queryset.filter(**{self.column: value})

    def shortened(self, names: Iterable[str]) -> list[tuple[str, str]]:
        """The first names, and the one that is chosen in any case."""
        chosen = self.value()
        known = sorted({*names} - {chosen})[: CHOICES - 1]
        return [(name, name) for name in sorted({*known, chosen} if chosen else known)]


class StateFilter(ChoiceFilter):
    """By state."""

    title = _("state")
    parameter_name = "state"
    column = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(state.value, label) for state, label in STATE_LABELS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {None, *(state.value for state in State)}:
            raise IncorrectLookupParameters
        return super().queryset(request, queryset)


class QueueFilter(ChoiceFilter):
    """By queue: those of the settings, and those that have a row."""

    title = _("queue")
    parameter_name = "queue"
    column = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = Queue.objects.using(config().database).order_by("name").values_list("name", flat=True)
        return self.shortened([*config().queues, *rows[:CHOICES]])


class KindFilter(ChoiceFilter):
    """By kind: those that this process knows, and those of the newest jobs."""

    title = _("kind")
    parameter_name = "kind"
    column = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        newest = Job.objects.using(config().database).order_by("-pk").values_list("kind", flat=True)[:NEWEST]
        return self.shortened([*registry.kinds, *newest])

"""Counting that stops: a list of ten million jobs opens as fast as one of ten thousand."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Self

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

from django_river import storage

if TYPE_CHECKING:
    BasePaginator = Paginator[Any]
else:
    BasePaginator = Paginator

#: Jobs are counted, and pages turned, up to this.
LIMIT = 10_000


class Rough(int):
    """A number that says of itself that it is not exact: "≥10000", "≈1234567"."""

    sign: str

    def __new__(cls, number: int, sign: str) -> Self:
        self = super().__new__(cls, number)
        self.sign = sign
        return self

    def __str__(self) -> str:
        # Django puts its thousand separators between what it takes for digits.
        sign = "" if settings.USE_THOUSAND_SEPARATOR else self.sign
        return f"{sign}{int(self)}"


class BoundedPaginator(BasePaginator):
    """Counts up to :data:`LIMIT`; beyond it says about how many there are, and turns no more pages.

    To leaf further would mean to skip over all that was leafed through: whoever looks for a job filters.
    """

    @cached_property
    def count(self) -> int:
        listed: Any = self.object_list
        jobs: QuerySet[Any] = listed.order_by()
        counted: int = jobs[: LIMIT + 1].count()
        if counted <= LIMIT:
            return counted
        estimate = None if jobs.query.has_filters() else storage.for_people(jobs.db).job_estimate()
        return Rough(estimate, "≈") if estimate and estimate > LIMIT else Rough(LIMIT, "≥")

    @cached_property
    def num_pages(self) -> int:
        return min(super().num_pages, ceil(LIMIT / self.per_page))

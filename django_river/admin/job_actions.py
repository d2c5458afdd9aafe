"""Retry, cancel, delete: what each may do, asks, answers and leaves in the log.

From the list they take a selection or all that a filter matches, from a job's page that one job; the way is the same:
ask if need be, let :mod:`django_river.operations` do it, say what was done and what was skipped and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, DELETION
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_river import operations
from django_river.admin import history
from django_river.admin.formats import STATE_LABELS, state_badge
from django_river.conf import config
from django_river.jobs.states import FINAL, State
from django_river.models import Job
from django_river.operations import Result

#: The page that asks counts the selection up to this.
PREVIEW_LIMIT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAction:
    """One way to change jobs by hand."""

    #: Of the permission, the button's view and, with ``_jobs``, the list's action.
    name: str
    run: Callable[..., Result]
    #: States whose jobs it skips.
    skips: frozenset[State]
    flag: int
    is_dangerous: bool
    label: Any
    title: Any
    #: What the page that asks says; the button of a job's page asks only if the action ``always_asks``.
    question: Any
    always_asks: bool
    log_message: Any
    done: Callable[[int], str]

    def applies_to(self, job: Job) -> bool:
        """Whether it would change this job."""
        return job.state not in self.skips


RETRY = JobAction(
    name="retry",
    run=operations.retry,
    skips=frozenset({State.RUNNING}),
    flag=CHANGE,
    is_dangerous=False,
    label=gettext_lazy("Retry"),
    title=gettext_lazy("Retry jobs"),
    question=gettext_lazy(
        "Retry these jobs? They become available now, whatever became of them: completed ones run once more."
    ),
    always_asks=False,
    log_message=gettext_lazy("Retried."),
    done=lambda count: ngettext("Retried %(count)d job.", "Retried %(count)d jobs.", count),
)
CANCEL = JobAction(
    name="cancel",
    run=operations.cancel,
    skips=FINAL,
    flag=CHANGE,
    is_dangerous=True,
    label=gettext_lazy("Cancel"),
    title=gettext_lazy("Cancel jobs"),
    question=gettext_lazy(
        "Cancel these jobs? What waits will not run. What runs is asked to stop, and stops when its code heeds it."
    ),
    always_asks=True,
    log_message=gettext_lazy("Cancelled."),
    done=lambda count: ngettext("Cancelled %(count)d job.", "Cancelled %(count)d jobs.", count),
)
DELETE = JobAction(
    name="delete",
    run=operations.delete,
    skips=frozenset({State.RUNNING}),
    flag=DELETION,
    is_dangerous=True,
    label=gettext_lazy("Delete"),
    title=gettext_lazy("Delete jobs"),
    question=gettext_lazy("Delete these jobs? Their arguments, outputs and errors are gone then."),
    always_asks=True,
    log_message="",
    done=lambda count: ngettext("Deleted %(count)d job.", "Deleted %(count)d jobs.", count),
)
ACTIONS = (RETRY, CANCEL, DELETE)


@dataclass(frozen=True, slots=True)
class Preview:
    """What an action is about to meet: jobs by state, counted up to :data:`PREVIEW_LIMIT`."""

    #: Badge, count, and whether these are skipped.
    states: list[tuple[SafeString, int, bool]]
    total: int
    #: Whether there are more than were counted.
    is_partial: bool

    @classmethod
    def of(cls, action: JobAction, jobs: QuerySet[Job]) -> Preview:
        """Look at the jobs of a selection."""
        found = list(jobs.order_by("pk").values_list("state", flat=True)[: PREVIEW_LIMIT + 1])
        counts = Counter(found[:PREVIEW_LIMIT])
        states = [
            (state_badge(state), counts[state], state in action.skips) for state in State if counts[state]
        ]
        return cls(states, sum(counts.values()), is_partial=len(found) > PREVIEW_LIMIT)


def perform(action: JobAction, request: HttpRequest, jobs: QuerySet[Job]) -> list[tuple[int, str]]:
    """Do it and keep it in the log; answers messages for the user, with their levels."""
    names = {job.pk: job for job in jobs.order_by("pk").only("kind")[: history.ONE_BY_ONE]}
    result = action.run(jobs.order_by(), using=config().database)
    entry: Any = {"flag": action.flag, "message": str(action.log_message)}
    if len(result.changed) <= history.ONE_BY_ONE:
        rows = [names.get(pk) or Job(pk=pk, kind="job") for pk in result.changed]
        history.keep_all(request, Job, rows, **entry)
    else:
        history.keep_summary(request, Job, len(result.changed), **entry)
    return list(_answers(action, result))


def _answers(action: JobAction, result: Result) -> Iterable[tuple[int, str]]:
    if result.changed:
        text = action.done(len(result.changed)) % {"count": len(result.changed)}
        still_running = _still_running(result) if action is CANCEL else 0
        if still_running:
            text += " " + ngettext(
                "%(count)d of them is running and was asked to stop.",
                "%(count)d of them are running and were asked to stop.",
                still_running,
            ) % {"count": still_running}
        yield messages.SUCCESS, text
    if result.skipped:
        reasons = Counter(_reason(action, state) for state in result.skipped.values())
        text = ngettext(
            "Skipped %(count)d job: %(why)s.", "Skipped %(count)d jobs: %(why)s.", len(result.skipped)
        )
        why = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        yield messages.WARNING, text % {"count": len(result.skipped), "why": why}
    if not result.changed and not result.skipped:
        yield messages.WARNING, _("There was no job left to change.")


def _reason(action: JobAction, state: str) -> str:
    if state == "missing":
        return _("no longer there")
    if State(state) in FINAL and action is CANCEL:
        return _("already %(state)s") % {"state": STATE_LABELS[State(state)]}
    if state == State.RUNNING:
        return _("running")
    return _("another job holds its unique key")


def _still_running(result: Result) -> int:
    """How many were running: all that run are few, and have an index."""
    running = Job.objects.using(config().database).in_state(State.RUNNING).values_list("pk", flat=True)
    return len(set(running) & set(result.changed))

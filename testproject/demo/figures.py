"""What the demo's run has come to, counted from the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, Q, Sum
from django.utils import timezone

from digests.jobs import send_digest
from digests.models import Delivery, Edition
from django_river import State
from django_river.models import Job, JobQuerySet
from library.jobs import announce, check_links, extract_links, index_words, ingest
from library.models import Document, Link, WordCount

#: Work that is due within this time is waited for; what comes later is left.
PATIENCE = timedelta(seconds=15)
DOCUMENT_JOBS = (ingest, index_words, extract_links, check_links)
DUE_SOMETIME = (State.AVAILABLE, State.SCHEDULED, State.RETRYABLE)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the demo: everything stored since it began."""

    last_job: int
    last_edition: int

    @classmethod
    def begin(cls) -> Run:
        return cls(
            Job.objects.aggregate(last=Max("id"))["last"] or 0,
            Edition.objects.aggregate(last=Max("id"))["last"] or 0,
        )

    def jobs(self) -> JobQuerySet:
        """The jobs of this run."""
        return Job.objects.filter(id__gt=self.last_job)

    def progress(self) -> tuple[int, int]:
        """Jobs that need nothing more for now, and all."""
        counts = self.jobs().aggregate(
            all=Count("id"),
            left=Count("id", filter=Q(state__in=[State.AVAILABLE.value, State.RUNNING.value])),
        )
        return counts["all"] - counts["left"], counts["all"]

    def jobs_by_state(self) -> dict[str, int]:
        """How many of its jobs are in which state."""
        return dict(self.jobs().order_by("state").values_list("state").annotate(Count("id")))

    def jobs_per_second(self) -> float:
        """How fast documents were worked: their completed jobs by the time from the first start to the last end."""
        worked = self.jobs().in_state(State.COMPLETED).filter(kind__in=[kind.kind for kind in DOCUMENT_JOBS])
        times = worked.aggregate(first=Min("attempted_at"), last=Max("finalized_at"), all=Count("id"))
        if not times["all"] or times["last"] <= times["first"]:
            return 0.0
        return float(times["all"] / (times["last"] - times["first"]).total_seconds())

    def deliveries(self) -> int:
        """E-mails that its digests have sent."""
        return Delivery.objects.filter(edition_id__gt=self.last_edition).count()

    def problems(self, *, received: int, announced: int) -> Iterator[str]:
        """What should not be so at the end, in words."""
        unsettled = Document.objects.unsettled().count()
        if unsettled:
            yield f"{unsettled} documents are neither read nor failed"
        for job in self.jobs().in_state(State.AVAILABLE, State.RUNNING)[:5]:
            yield f"{job} is left {job.state}"
        for job in self.jobs().in_state(State.RETRYABLE, State.DISCARDED, State.CANCELLED):
            if not is_undecodable(job):
                yield f"{job} is {job.state}: {job.errors[-1]['error'] if job.errors else 'no error'}"
        if not failing_jobs():
            yield "the undecodable document did not fail"
        asked = self.jobs().of_kind(announce.kind).values("args__document_id").distinct().count()
        if announced != asked:
            yield f"{asked} documents were to be announced, {announced} were"
        if not self.deliveries() or self.deliveries() != received:
            yield f"{self.deliveries()} e-mails were sent, {received} arrived"


def next_due() -> datetime | None:
    """When the next job is due that is worth waiting for."""
    due: datetime | None = (
        Job.objects.in_state(*DUE_SOMETIME)
        .filter(scheduled_at__lt=timezone.now() + PATIENCE)
        .aggregate(next=Min("scheduled_at"))["next"]
    )
    return due


def failing_jobs() -> list[Job]:
    """The jobs of undecodable documents that have failed, whether they will be tried again or not."""
    jobs = Job.objects.of_kind(ingest.kind).in_state(State.AVAILABLE, State.RETRYABLE, State.DISCARDED)
    return [job for job in jobs.order_by("-id")[:100] if is_undecodable(job)]


def is_undecodable(job: Job) -> bool:
    """Whether this job's last attempt met bytes that are no text."""
    return bool(job.errors) and "codec can't decode" in job.errors[-1]["error"]


def document_figures() -> dict[str, int]:
    """The reading-room, by numbers."""
    documents = Document.objects.aggregate(
        all=Count("id"),
        indexed=Count("id", filter=Q(indexed_at__isnull=False, links_checked_at__isnull=False)),
        failed=Count("id", filter=~Q(problem="")),
        unapproved=Count("id", filter=Q(is_approved=False)),
        words=Sum("words"),
    )
    return {
        "documents": documents["all"],
        "indexed": documents["indexed"],
        "failed": documents["failed"],
        "waiting for approval": documents["unapproved"],
        "words": documents["words"] or 0,
        "different words": WordCount.objects.values("word").distinct().count(),
        "links": Link.objects.count(),
        "doubtful links": Link.objects.exclude(problem="").count(),
        "related pairs": Document.related.through.objects.count(),
    }


def digest_snoozes() -> int:
    """How often the last digest has waited for documents."""
    job = Job.objects.of_kind(send_digest.kind).in_state(State.COMPLETED).order_by("-finalized_at").first()
    return int(job.metadata.get("snoozes", 0)) if job else 0

"""The daily digest: one job per day makes the edition, one job per reader sends it. What is old goes once a week."""

from __future__ import annotations

import smtplib
from datetime import date, timedelta

from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Sum
from django.template.loader import render_to_string
from django.utils import timezone

import digests.live  # noqa: F401  (its job is found with ours)
from digests.models import Delivery, Edition, Reader
from django_river import (
    ExponentialRetry,
    JobContext,
    JobSnooze,
    RetryOn,
    Unique,
    enqueue_many,
    job,
    periodic,
)
from library.models import Document, Link

#: How often the digest waits a second for documents that are still being read, before it goes out without them.
MOST_SNOOZES = 120
#: Editions, and what was sent of them, are kept for so long.
KEPT_FOR = timedelta(days=365)


# A digest that nobody was there for goes out late; somebody is told when there has been none for a day and a bit.
@periodic(cron="0 7 * * *", on_missed="once", expect_success_within=timedelta(hours=26))
@job(queue="emails")
def publish(context: JobContext) -> None:
    """Ask for the digest of the day that this run was planned for, however late it comes."""
    send_digest.enqueue(timezone.localdate(context.planned_at))


@periodic(cron="30 4 * * SUN")
@job(queue="emails")
def clean_up(context: JobContext) -> None:
    """Forget editions that are old."""
    deleted, _ = Edition.objects.filter(day__lt=timezone.localdate() - KEPT_FOR).delete()
    context.record_output({"deleted": deleted})


@job(queue="emails", unique=Unique(by_args=True))
def send_digest(context: JobContext, day: date) -> None:
    """Make the edition of a day and have it sent; one per day, however often it is asked for.

    Waits until all documents have been read. Then the edition and its e-mail jobs are stored together.
    """
    if Document.objects.unsettled().exists() and context.snoozes < MOST_SNOOZES:
        raise JobSnooze(after=1)
    with transaction.atomic():
        edition = _edition(day)
        enqueue_many(deliver.build(edition.pk, reader.pk) for reader in Reader.objects.all())
    context.record_output({"edition": edition.pk, "readers": Reader.objects.count()})


@job(
    queue="emails",
    max_attempts=8,
    timeout=30,
    retry=RetryOn(
        {smtplib.SMTPException: ExponentialRetry(first=5), ConnectionError: ExponentialRetry(first=5)}
    ),
)
def deliver(edition_id: int, reader_id: int) -> None:
    """Send one e-mail. A job that runs again after it has sent does not send twice."""
    edition, reader = Edition.objects.get(pk=edition_id), Reader.objects.get(pk=reader_id)
    if Delivery.objects.filter(edition=edition, reader=reader).exists():
        return
    EmailMessage(
        subject=edition.subject, body=f"Dear {reader.name},\n\n{edition.text}", to=[reader.email]
    ).send()
    Delivery.objects.create(edition=edition, reader=reader)


def _edition(day: date) -> Edition:
    documents = Document.objects.filter(is_approved=True)
    figures = {
        "day": day,
        "documents": documents.count(),
        "words": documents.aggregate(words=Sum("words"))["words"] or 0,
        "links": Link.objects.count(),
        "doubtful_links": Link.objects.exclude(problem="").count(),
        "failed": list(documents.failed()),
        "newest": list(documents.exclude(read_at=None).order_by("-added_at", "-id")[:5]),
    }
    return Edition.objects.create(
        day=day,
        subject=f"The Gazette of {day:%d %B %Y}: {figures['documents']} documents",
        text=render_to_string("digests/digest.txt", figures),
    )

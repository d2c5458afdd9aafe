"""The jobs of the reading-room. django_river finds this module by its name.

``ingest`` → ``index_words`` and ``extract_links`` → ``check_links``; and ``find_related`` over all documents.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from django.db import transaction
from django.utils import timezone
from msgspec import Meta

from django_river import (
    ExponentialRetry,
    JobCancel,
    JobContext,
    JobDiscard,
    RetryOn,
    State,
    Unique,
    enqueue_many,
    job,
    operations,
)
from django_river.models import Job
from library.models import Document, Link, WordCount
from library.reading import Format, LinkKind, count_words, decode, find_links, find_title, web_problem
from library.related import related_documents

#: A job holds its unique key until it is over; a completed one does not stand in the way of the next.
UNTIL_OVER = frozenset({State.AVAILABLE, State.PENDING, State.RETRYABLE, State.RUNNING, State.SCHEDULED})
#: People wait for their own document; the bulk that is already on the machine does not mind.
FIRST, LAST = 1, 3


@dataclass(frozen=True, slots=True)
class Figures:
    """What ``index_words`` leaves behind as its output."""

    words: int
    distinct: int


@job(
    queue="ingest",
    max_attempts=4,
    timeout=30,
    retry=RetryOn({UnicodeDecodeError: ExponentialRetry(first=1, factor=60, jitter=0)}),
    unique=Unique(by_args=True, by_state=UNTIL_OVER),
)
def ingest(context: JobContext, document_id: int) -> None:
    """Read and decode a document's file, then ask for its words and its links."""
    document = _document(document_id)
    try:
        text = decode(document.read_bytes())
    except FileNotFoundError as error:
        raise JobDiscard(f"{document.name} is gone") from error
    except UnicodeDecodeError as error:
        # Outside of any transaction: what the readers should see must survive the exception.
        Document.objects.filter(pk=document_id).update(problem=f"{type(error).__name__}: {error}")
        raise
    with transaction.atomic():
        Document.objects.filter(pk=document_id).update(
            title=find_title(text, Format(document.format)) or document.name[-200:],
            text=text,
            problem="",
            read_at=timezone.now(),
            indexed_at=None,
            links_checked_at=None,
        )
        enqueue_many(
            follow_up.using(priority=LAST if document.distribution else FIRST).build(document_id)
            for follow_up in (index_words, extract_links)
        )
    context.record_output({"characters": len(text), "format": document.format})


@job(queue="index", timeout=timedelta(minutes=1))
def index_words(
    context: JobContext, document_id: int, shortest: Annotated[int, Meta(ge=1, le=10)] = 2
) -> None:
    """Count a document's words."""
    text = _document(document_id).text
    counts = count_words(text, shortest=shortest)
    with transaction.atomic():
        # Two jobs about one document come one after the other here; their words would collide otherwise.
        document = Document.objects.select_for_update().get(pk=document_id)
        document.word_counts.all().delete()
        WordCount.objects.bulk_create(
            [WordCount(document=document, word=word, count=count) for word, count in counts.items()],
            batch_size=1000,
        )
        Document.objects.filter(pk=document_id).update(words=counts.total(), indexed_at=timezone.now())
    context.record_output(asdict(Figures(words=counts.total(), distinct=len(counts))))


@job(queue="links", timeout=30)
def extract_links(document_id: int) -> None:
    """Find a document's links, and have them checked."""
    document = _document(document_id)
    found = find_links(document.text, Format(document.format))
    with transaction.atomic():
        Document.objects.select_for_update().get(pk=document_id)
        document.links.all().delete()
        Link.objects.bulk_create(
            Link(document=document, target=link.target, label=link.label, kind=link.kind.value)
            for link in found
        )
        check_links.using(priority=LAST if document.distribution else FIRST).enqueue(document_id)


@job(queue="links", timeout=20)
async def check_links(context: JobContext, document_id: int) -> None:
    """Look at all links of a document at once: addresses by their form, files by whether they are there."""
    document = await Document.objects.filter(pk=document_id).afirst()
    if document is None:
        raise JobCancel("the document has been deleted")
    links = [link async for link in document.links.all()]
    problems = await asyncio.gather(*(_problem(link, Path(document.path).parent) for link in links))
    for link, problem in zip(links, problems, strict=True):
        link.problem = problem[:300]
    await Link.objects.abulk_update(links, ["problem"], batch_size=200)
    await Document.objects.filter(pk=document_id).aupdate(links_checked_at=timezone.now())
    context.record_output({"links": len(links), "problems": sum(map(bool, problems))})


@job(queue="index", priority=4, max_attempts=2, timeout=300, unique=Unique(by_state=UNTIL_OVER))
def find_related(context: JobContext, at_most: Annotated[int, Meta(ge=1, le=20)] = 5) -> None:
    """Find for every document those that share its rare words. Long, so it says that it lives and can be stopped."""
    done = 0
    for document_id, related_ids in related_documents(at_most=at_most):
        context.raise_if_cancelled()
        context.heartbeat()
        document = Document.objects.filter(pk=document_id).first()
        if document is not None:
            document.related.set(Document.objects.filter(pk__in=related_ids))
            done += 1
    context.record_output({"documents": done})


def request_ingestion(document: Document) -> Job:
    """Ask for a document to be read, now if it is approved.

    If a job about it waits already, for its next attempt say, that one goes ahead instead of a second one.
    """
    stored = ingest.using(
        priority=LAST if document.distribution else FIRST,
        pending=not document.is_approved,
    ).enqueue(document.pk)
    if stored.skipped_as_duplicate and document.is_approved:
        operations.retry(stored)
    return stored


def _document(document_id: int) -> Document:
    """The document, or the job's end: nobody misses the words of what has been deleted."""
    document = Document.objects.filter(pk=document_id).first()
    if document is None:
        raise JobCancel("the document has been deleted")
    return document


async def _problem(link: Link, folder: Path) -> str:
    if link.kind == LinkKind.WEB:
        return web_problem(link.target)
    if link.kind == LinkKind.FILE:
        path = folder / link.target.partition("#")[0]
        return "" if await asyncio.to_thread(_exists, path) else "no such file beside the document"
    return ""


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a path, or no path at all
        return False

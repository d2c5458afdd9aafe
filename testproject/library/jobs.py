"""The jobs of the reading-room. django_river finds this module by its name.

``ingest`` → ``index_words`` and ``extract_links`` → ``check_links``; ``announce``, if there is a catalogue to be told; and
``find_related`` over all documents.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from msgspec import Meta

from django_river import (
    Batch,
    ExponentialRetry,
    FixedRetry,
    JobBatch,
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
from library import catalogue
from library.adding import add_source
from library.models import Document, Link, WordCount
from library.publishers import open_queue
from library.reading import Format, LinkKind, count_words, decode, find_links, find_title, web_problem
from library.related import related_documents
from library.sources import installed_documents

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
        if settings.CATALOGUE_URL:
            announce.enqueue(document_id)
    context.record_output({"characters": len(text), "format": document.format})


@dataclass(frozen=True, slots=True)
class Indexing:
    """What ``index_words`` takes for each document."""

    document_id: int
    shortest: Annotated[int, Meta(ge=1, le=10)] = 2


@job(
    queue="index",
    timeout=timedelta(minutes=1),
    batch=Batch(size=50, wait=0.1, isolate_on_error=True, complete_in_transaction=True),
    item=Indexing,
)
def index_words(batch: JobBatch[Indexing]) -> None:
    """Count the words of many documents, and write them at once: one statement instead of hundreds."""
    # In order, so that two calls about the same documents come one after the other.
    locked = Document.objects.select_for_update().order_by("pk")
    documents = locked.in_bulk({item.args.document_id for item in batch})
    counts: dict[int, Counter[str]] = {}
    for item in batch:
        document = documents.get(item.args.document_id)
        if document is None:
            item.cancel("the document has been deleted")
            continue
        found = counts[document.pk] = count_words(document.text, shortest=item.args.shortest)
        document.words, document.indexed_at = found.total(), timezone.now()
        item.succeed(output=asdict(Figures(words=found.total(), distinct=len(found))))
    WordCount.objects.filter(document__in=counts).delete()
    WordCount.objects.bulk_create(
        [
            WordCount(document_id=document_id, word=word, count=count)
            for document_id, found in counts.items()
            for word, count in found.items()
        ],
        batch_size=5000,
        update_conflicts=True,
        unique_fields=["document", "word"],
        update_fields=["count"],
    )
    Document.objects.bulk_update([documents[pk] for pk in counts], ["words", "indexed_at"])


@dataclass(frozen=True, slots=True)
class Announcement:
    """What ``announce`` takes for each document."""

    document_id: int


@job(
    queue="links",
    batch=Batch(size=100, wait=0.5, max_concurrent=1),
    retry=FixedRetry(2),
)
def announce(batch: JobBatch[Announcement]) -> None:
    """Tell the union catalogue of new documents: it takes many at once, and few calls a second."""
    titles = dict(
        Document.objects.filter(pk__in=[item.args.document_id for item in batch]).values_list("pk", "title")
    )
    for item in batch:
        if item.args.document_id not in titles:
            item.cancel("the document has been deleted")
    answer = catalogue.announce(titles)
    for item in batch.unsettled:
        problem = answer.get(item.args.document_id)
        if problem:
            item.fail(ValueError(f"the catalogue refuses it: {problem}"))


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


@job(
    queue="index", priority=4, max_attempts=3, timeout=3600, heartbeat=60, unique=Unique(by_state=UNTIL_OVER)
)
def import_installed(context: JobContext) -> None:
    """Take in every document of the installed distributions: it says how far it is, and goes on where it was stopped."""
    for step in context.step("documents"):
        sources = list(installed_documents())
        for number, source in enumerate(sources, start=1):
            if number <= (step.cursor or 0):
                continue
            context.raise_if_cancelled()
            document, is_new = add_source(source)
            if is_new:
                request_ingestion(document)
            step.save(number)
            note = f"{number} of {len(sources)}, {source.distribution}"
            context.heartbeat(progress=number / len(sources), note=note)


def request_ingestion(document: Document) -> Job:
    """Ask for a document to be read, now if it is approved.

    If a job about it waits already, for its next attempt say, that one goes ahead instead of a second one.
    """
    stored = ingest.using(
        queue=open_queue(document.distribution),
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

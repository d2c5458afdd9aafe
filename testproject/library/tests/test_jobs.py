"""The reading-room's jobs, called as the functions that they are."""

# ruff: noqa: PT009, PT027  (these run under "manage.py test", without pytest)
from __future__ import annotations

import tempfile
from pathlib import Path
from types import NoneType

from django.db import transaction
from django.test import TestCase, TransactionTestCase

from demo.catalogue import CALLS_A_SECOND, Catalogue
from django_river import JobBatch, JobCancel, JobContext, JobDiscard, JobInterrupted, JobSnooze, State
from django_river.jobs.context import CancelReason
from django_river.models import Job
from library.jobs import (
    Announcement,
    Indexing,
    announce,
    check_links,
    extract_links,
    find_related,
    index_words,
    ingest,
    request_ingestion,
)
from library.models import Document
from library.reading import Format

TEXT = b"# The river\n\nIt flows, and flows: see [the map](map.txt), https://example.org/ and https://nowhere/.\n"


def add_document(folder: str, content: bytes = TEXT, **values: object) -> Document:
    """A document and its file."""
    path = Path(folder) / f"{Document.objects.count()}.md"
    path.write_bytes(content)
    defaults = {
        "title": path.name,
        "name": path.name,
        "path": str(path),
        "size": len(content),
        "sha256": path.name,
    }
    return Document.objects.create(**defaults | {"format": Format.MARKDOWN.value} | values)


class JobsTestCase(TestCase):
    """With a folder for files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.context = JobContext(id=1)


class IngestTests(JobsTestCase):
    def test_a_new_document_has_its_job(self) -> None:
        document = add_document(self.folder)

        job = Job.objects.get()
        self.assertEqual(
            (job.kind, job.args, job.state), ("library.ingest", {"document_id": document.pk}, "available")
        )

    def test_a_document_that_waits_for_approval_has_a_pending_job_until_it_is_approved(self) -> None:
        document = add_document(self.folder, is_approved=False)
        self.assertEqual(Job.objects.get().state, State.PENDING)

        document.approve()

        self.assertEqual(Job.objects.get().state, State.AVAILABLE)

    def test_asking_twice_stores_one_job(self) -> None:
        document = add_document(self.folder)

        stored = request_ingestion(document)

        self.assertTrue(stored.skipped_as_duplicate)
        self.assertEqual(Job.objects.count(), 1)

    def test_text_and_title_are_read_and_the_next_jobs_stored(self) -> None:
        document = add_document(self.folder)

        ingest(self.context, document.pk)

        document.refresh_from_db()
        self.assertEqual((document.title, document.text), ("The river", TEXT.decode()))
        kinds = Job.objects.exclude(kind="library.ingest").values_list("kind", flat=True)
        self.assertEqual(set(kinds), {"library.index_words", "library.extract_links"})

    def test_what_is_no_text_fails_and_the_document_says_so(self) -> None:
        document = add_document(self.folder, "Déjà vu".encode("latin-1"))

        with self.assertRaises(UnicodeDecodeError):
            ingest(self.context, document.pk)

        document.refresh_from_db()
        self.assertEqual(document.status, "failed")
        self.assertIn("codec can't decode byte 0xe9", document.problem)

    def test_a_file_that_is_gone_ends_the_job(self) -> None:
        document = add_document(self.folder, path="/nowhere/at/all.md")

        with self.assertRaisesMessage(JobDiscard, "is gone"):
            ingest(self.context, document.pk)

    def test_a_document_that_is_gone_ends_the_job(self) -> None:
        with self.assertRaisesMessage(JobCancel, "has been deleted"):
            ingest(self.context, 404)


class ReadingTests(JobsTestCase):
    def test_words_are_counted_again_without_the_old_ones(self) -> None:
        document = add_document(self.folder, text="river river bank")
        document.word_counts.create(word="old", count=1)

        batch = JobBatch.of([Indexing(document.pk), Indexing(404)])

        index_words(batch)

        self.assertEqual(dict(document.word_counts.values_list("word", "count")), {"river": 2, "bank": 1})
        self.assertEqual(batch[0].job.output, b'{"words":3,"distinct":2}')
        self.assertIsInstance(batch[1].error, JobCancel)

    def test_words_of_many_documents_are_written_at_once(self) -> None:
        documents = [add_document(self.folder, text=f"river bank{'s' * n}") for n in range(20)]

        with self.assertNumQueries(4):
            index_words([Indexing(document.pk) for document in documents])

        self.assertEqual(sum(document.word_counts.count() for document in documents), 40)

    def test_documents_are_announced_in_one_call(self) -> None:
        documents = [add_document(self.folder, title=title) for title in ("One", "Two", "")]
        batch = JobBatch.of([Announcement(pk) for pk in (*(document.pk for document in documents), 404)])

        with Catalogue() as catalogue, self.settings(CATALOGUE_URL=catalogue.url):
            announce(batch)

        self.assertEqual((catalogue.calls, sorted(catalogue.titles.values())), (1, ["One", "Two"]))
        self.assertEqual([type(item.error) for item in batch], [NoneType, NoneType, ValueError, JobCancel])

    def test_a_catalogue_that_is_called_too_often_is_called_later(self) -> None:
        document = add_document(self.folder)

        with Catalogue() as catalogue, self.settings(CATALOGUE_URL=catalogue.url):
            for _ in range(CALLS_A_SECOND):
                announce([Announcement(document.pk)])
            with self.assertRaises(JobSnooze):
                announce([Announcement(document.pk)])

        self.assertEqual((catalogue.calls, catalogue.refused), (CALLS_A_SECOND, 1))

    def test_links_are_found_and_their_check_is_stored(self) -> None:
        document = add_document(self.folder, text=TEXT.decode())

        extract_links(document.pk)

        targets = list(document.links.values_list("target", flat=True))
        self.assertEqual(targets, ["map.txt", "https://example.org/", "https://nowhere/"])
        self.assertEqual(Job.objects.filter(kind=check_links.kind).count(), 1)

    async def test_links_are_checked(self) -> None:
        document = await Document.objects.acreate(
            title="", name="", path=f"{self.folder}/x", size=1, format="md"
        )
        await document.links.acreate(target="map.txt", kind="file")
        await document.links.acreate(target="https://example.org/", kind="web")
        await document.links.acreate(target="https://nowhere/", kind="web")

        await check_links(self.context, document.pk)

        problems = [link.problem async for link in document.links.all()]
        self.assertEqual(
            problems, ["no such file beside the document", "", "'nowhere' is no public host name"]
        )


class FindRelatedTests(JobsTestCase):
    def setUp(self) -> None:
        super().setUp()
        texts = ("river bank water", "river bank boat", "mountain snow boat")
        self.documents = [add_document(self.folder, text=text) for text in texts]
        for document in self.documents:
            index_words([Indexing(document.pk)])

    def test_documents_that_share_words_are_related(self) -> None:
        find_related(self.context, at_most=1)

        self.assertEqual(list(self.documents[0].related.all()), [self.documents[1]])

    def test_it_stops_when_it_is_cancelled(self) -> None:
        self.context.cancel(CancelReason.CANCEL)

        with self.assertRaises(JobInterrupted):
            find_related(self.context)

        self.assertFalse(self.documents[0].related.exists())


class TransactionTests(TransactionTestCase):
    def test_a_document_that_is_rolled_back_leaves_no_job(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                add_document(folder)
                raise ZeroDivisionError

            self.assertEqual((Document.objects.count(), Job.objects.count()), (0, 0))

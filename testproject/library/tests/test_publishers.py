"""Publishers have queues of their own, added when their first document comes."""

from __future__ import annotations

from django.test import TestCase

from django_river import queues
from django_river.models import Job
from library import publishers
from library.jobs import request_ingestion
from library.models import Document


class PublisherTests(TestCase):
    def setUp(self) -> None:
        publishers.opened.clear()
        self.addCleanup(publishers.opened.clear)

    def test_names_are_made_of_what_a_queue_may_be_called(self) -> None:
        assert publishers.queue_of("Django_River 2.0") == "publisher-django-river-2-0"
        assert publishers.queue_of("x" * 99) == f"publisher-{'x' * 50}"
        assert publishers.queue_of("") == publishers.queue_of("—") == "ingest"

    def test_the_first_document_adds_the_queue(self) -> None:
        document = Document(
            title="a", name="a", distribution="Sphinx", path="/a", sha256="0", size=1, format="txt"
        )
        document.save()

        assert Job.objects.get().queue == "publisher-sphinx"
        assert "publisher-sphinx" in [info.name for info in queues.list()]
        publishers.opened.clear()
        assert request_ingestion(document).skipped_as_duplicate

"""The digest's jobs."""

# ruff: noqa: PT009, PT027  (these run under "manage.py test", without pytest)
from __future__ import annotations

from datetime import date

from django.core import mail
from django.test import TestCase

from digests.jobs import MOST_SNOOZES, deliver, send_digest
from digests.models import Edition, Reader
from django_river import JobContext, JobSnooze
from django_river.models import Job
from library.models import Document

DAY = date(2026, 11, 21)


class SendDigestTests(TestCase):
    def setUp(self) -> None:
        Reader.objects.create(name="Ada", email="ada@example.org")

    def test_the_edition_its_e_mails_and_tomorrows_digest_are_stored_together(self) -> None:
        send_digest(JobContext(id=1), DAY)

        self.assertEqual(Edition.objects.get().subject, "The Gazette of 21 November 2026: 0 documents")
        self.assertEqual(Job.objects.filter(kind=deliver.kind).count(), 1)
        tomorrow = Job.objects.get(kind=send_digest.kind)
        self.assertEqual((tomorrow.args, tomorrow.state), ({"day": "2026-11-22"}, "scheduled"))

    def test_it_waits_for_documents_but_not_for_ever(self) -> None:
        Document.objects.create(title="river", name="river", path="river", size=1, format="md")
        with self.assertRaises(JobSnooze):
            send_digest(JobContext(id=1), DAY)

        send_digest(JobContext(id=1, metadata=f'{{"snoozes": {MOST_SNOOZES}}}'), DAY)

        self.assertEqual(Edition.objects.count(), 1)

    def test_one_digest_per_day_is_stored(self) -> None:
        first, second = send_digest.enqueue(DAY), send_digest.enqueue(DAY)

        self.assertTrue(second.skipped_as_duplicate)
        self.assertEqual(first.pk, second.pk)


class DeliverTests(TestCase):
    def test_an_e_mail_is_sent_once(self) -> None:
        reader = Reader.objects.create(name="Ada", email="ada@example.org")
        edition = Edition.objects.create(day=DAY, subject="The Gazette", text="nothing new")

        deliver(edition.pk, reader.pk)
        deliver(edition.pk, reader.pk)

        (message,) = mail.outbox
        self.assertEqual((message.subject, message.to), ("The Gazette", ["ada@example.org"]))
        self.assertIn("Dear Ada", message.body)

"""The digest's jobs."""

# ruff: noqa: PT009, PT027  (these run under "manage.py test", without pytest)
from __future__ import annotations

from datetime import date, timedelta

from django.core import mail
from django.test import TestCase
from django.utils import timezone

from digests.jobs import KEPT_FOR, MOST_SNOOZES, clean_up, deliver, publish, send_digest
from digests.models import Delivery, Edition, Reader
from django_river import JobContext, JobSnooze
from django_river.models import Job
from library.models import Document

DAY = date(2026, 11, 21)


class SendDigestTests(TestCase):
    def setUp(self) -> None:
        Reader.objects.create(name="Ada", email="ada@example.org")

    def test_the_edition_and_its_e_mails_are_stored(self) -> None:
        send_digest(JobContext(id=1), DAY)

        self.assertEqual(Edition.objects.get().subject, "The Gazette of 21 November 2026: 0 documents")
        self.assertEqual(Job.objects.filter(kind=deliver.kind).count(), 1)

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


class PeriodicTests(TestCase):
    def test_the_digest_is_that_of_the_day_it_was_planned_for(self) -> None:
        publish(JobContext(id=1, metadata='{"django_river:planned_at": "2026-11-21T07:00:00+00:00"}'))

        self.assertEqual(Job.objects.get(kind=send_digest.kind).args, {"day": "2026-11-21"})

    def test_old_editions_go_and_take_their_deliveries_along(self) -> None:
        reader = Reader.objects.create(name="Ada", email="ada@example.org")
        today = timezone.localdate()
        for day in (today, today - KEPT_FOR - timedelta(days=1)):
            Edition.objects.create(day=day, subject="The Gazette", text="").deliveries.create(reader=reader)

        clean_up(JobContext(id=1))

        self.assertEqual([edition.day for edition in Edition.objects.all()], [today])
        self.assertEqual(Delivery.objects.count(), 1)


class DeliverTests(TestCase):
    def test_an_e_mail_is_sent_once(self) -> None:
        reader = Reader.objects.create(name="Ada", email="ada@example.org")
        edition = Edition.objects.create(day=DAY, subject="The Gazette", text="nothing new")

        deliver(edition.pk, reader.pk)
        deliver(edition.pk, reader.pk)

        (message,) = mail.outbox
        self.assertEqual((message.subject, message.to), ("The Gazette", ["ada@example.org"]))
        self.assertIn("Dear Ada", message.body)

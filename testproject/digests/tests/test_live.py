"""The live digest and its cache."""

# ruff: noqa: PT009  (these run under "manage.py test", without pytest)
from __future__ import annotations

from django.test import TestCase, override_settings
from django.utils import timezone

from digests import live
from digests.live import make_live_digest
from digests.models import LiveDigest
from django_river.models import Job
from library.models import Document, WordCount


def add_document(name: str, **words: int) -> None:
    document = Document.objects.create(
        title=name, name=name, path=name, sha256=name, size=1, format="md", indexed_at=timezone.now()
    )
    WordCount.objects.bulk_create(
        WordCount(document=document, word=word, count=count) for word, count in words.items()
    )


@override_settings(LIVE_DIGEST_BUILD_SECONDS=0)
class LiveDigestTests(TestCase):
    def setUp(self) -> None:
        live.forget()
        self.addCleanup(live.forget)

    def make(self) -> LiveDigest:
        make_live_digest()
        return LiveDigest.objects.first()

    def test_it_says_how_many_words_there_are_and_which_are_most_frequent(self) -> None:
        add_document("one", river=3, bank=1)
        add_document("two", river=2)

        digest = self.make()

        self.assertEqual((digest.documents, digest.words), (2, 6))
        self.assertEqual(digest.most_frequent, [["river", 5], ["bank", 1]])

    def test_the_cache_is_built_once_and_keeps_up(self) -> None:
        add_document("one", river=3)
        first = self.make()
        add_document("two", river=2, sea=9)

        second = self.make()

        self.assertEqual(second.cache_built_at, first.cache_built_at)
        self.assertEqual((second.documents, second.words), (2, 14))

    def test_a_leader_that_has_lost_the_lead_keeps_no_cache(self) -> None:
        first = self.make()
        live.forget()

        self.assertGreater(self.make().cache_built_at, first.cache_built_at)

    def test_old_ones_are_deleted(self) -> None:
        first = self.make()
        LiveDigest.objects.filter(pk=first.pk).update(made_at=first.made_at - live.KEPT_FOR * 2)

        second = self.make()

        self.assertEqual([digest.pk for digest in LiveDigest.objects.all()], [second.pk])

    def test_it_is_the_leaders(self) -> None:
        make_live_digest.enqueue()

        self.assertEqual(Job.objects.get(kind=make_live_digest.kind).queue, "live")

    def test_the_site_shows_the_last_one(self) -> None:
        self.assertEqual(self.client.get("/live/").status_code, 404)
        add_document("one", river=3)
        self.make()

        shown = self.client.get("/live/").json()

        self.assertEqual((shown["documents"], shown["words"]), (1, 3))
        self.assertLess(shown["age_seconds"], 60)
        self.assertContains(self.client.get("/"), "digests/live.js")

"""The reading-room's pages."""

# ruff: noqa: PT009  (these run under "manage.py test", without pytest)
from __future__ import annotations

import tempfile
from pathlib import Path

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test import TestCase, override_settings

from django_river import JobContext
from django_river.models import Job
from library.jobs import Indexing, find_related, import_installed, index_words
from library.models import Document
from library.sources import installed_documents


class PagesTestCase(TestCase):
    """With a folder for uploads, and one document in it."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        settings = override_settings(MEDIA_ROOT=folder.name)
        settings.enable()
        self.addCleanup(settings.disable)
        self.staff = User.objects.create_superuser("staff")

    def upload(self, name: str = "river.md", content: bytes = b"# The river\n") -> Document:
        response = self.client.post("/upload/", {"file": ContentFile(content, name=name)})
        document = Document.objects.latest("id")
        self.assertRedirects(response, document.get_absolute_url())
        return document


class UploadTests(PagesTestCase):
    def test_a_visitors_upload_waits_for_approval(self) -> None:
        document = self.upload()

        self.assertEqual(document.status, "waiting for approval")
        self.assertEqual(document.jobs().get().state, "pending")
        self.assertEqual(Path(document.path).read_bytes(), b"# The river\n")

    def test_the_staff_approves_it(self) -> None:
        document = self.upload()
        self.client.force_login(self.staff)

        self.client.post(f"/documents/{document.pk}/approve/")

        self.assertEqual(document.jobs().get().state, "available")

    def test_an_upload_of_the_staff_is_read_at_once_and_the_same_content_is_kept_once(self) -> None:
        self.client.force_login(self.staff)

        self.upload()
        self.upload("copy.md")

        self.assertEqual(Document.objects.get().jobs().get().state, "available")

    def test_other_files_are_refused(self) -> None:
        response = self.client.post("/upload/", {"file": ContentFile(b"MZ", name="river.exe")})

        self.assertContains(response, "The name must end in .md, .rst, .txt.")
        self.assertFalse(Document.objects.exists())


class PagesTests(PagesTestCase):
    def test_words_are_found(self) -> None:
        for name, text in (("a.md", "river bank"), ("b.md", "river river bank"), ("c.md", "river")):
            document = self.upload(name, text.encode())
            Document.objects.filter(pk=document.pk).update(text=text, title=name)
            index_words([Indexing(document.pk)])

        response = self.client.get("/", {"q": "Bank river"})

        self.assertEqual([document.title for document in response.context["page"]], ["b.md", "a.md"])

    def test_filters_and_pages_are_shown(self) -> None:
        document = self.upload()
        Document.objects.filter(pk=document.pk).update(problem="no text")

        self.assertContains(self.client.get("/?show=failed"), "no text")
        self.assertContains(self.client.get("/?show=unsettled"), "Nothing here")
        self.assertContains(self.client.get("/?page=99"), "river.md")

    def test_a_document_shows_its_jobs(self) -> None:
        document = self.upload()
        job = document.jobs().get()
        Job.objects.filter(pk=job.pk).update(errors=[{"error": "ValueError: no"}])
        self.client.force_login(self.staff)

        response = self.client.get(document.get_absolute_url())

        self.assertContains(response, f"library.ingest #{job.pk}")
        self.assertContains(response, "ValueError: no")

    def test_a_document_is_read_again(self) -> None:
        self.client.force_login(self.staff)
        document = self.upload()
        Job.objects.all().delete()

        self.client.post(f"/documents/{document.pk}/ingest/")

        self.assertEqual(document.jobs().count(), 1)

    def test_relating_is_asked_for_once_and_cancelled(self) -> None:
        self.client.force_login(self.staff)
        self.client.post("/related/")
        self.client.post("/related/")
        job = Job.objects.get(kind=find_related.kind)
        self.assertContains(self.client.get("/"), f"Job {job.pk} finds related documents")

        self.client.post("/related/cancel/")

        job.refresh_from_db()
        self.assertEqual(job.state, "cancelled")


class ImportTests(PagesTestCase):
    def test_says_how_far_it_is(self) -> None:
        self.client.force_login(self.staff)
        self.client.post("/import/")
        job = Job.objects.of_kind(import_installed.kind).get()
        self.assertContains(self.client.get("/import/progress/"), f"Job {job.pk} is available")
        said = {"attempt": 0, "progress": 0.25, "note": "5 of 20, django"}
        Job.objects.filter(pk=job.pk).update(metadata={"django_river:heartbeat": said})

        page = self.client.get("/import/progress/")
        self.assertContains(page, 'value="0.2500"')
        self.assertContains(page, "5 of 20, django")
        self.assertContains(self.client.get("/"), 'id="import"')

    def test_is_for_staff(self) -> None:
        self.assertRedirects(self.client.post("/import/"), "/admin/login/?next=/import/")

    def test_goes_on_where_it_was_stopped(self) -> None:
        sources = list(installed_documents())
        context = JobContext(
            id=1, metadata=f'{{"river:resumable_cursor": {{"documents": {len(sources) - 3}}}}}'
        )
        import_installed(context)

        self.assertEqual(Document.objects.count(), 3)
        self.assertEqual(context.beat.progress if context.beat else None, 1.0)
        self.assertEqual((context.kept or {})["river:resumable_step"], b'"documents"')

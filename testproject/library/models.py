"""Documents, and what has been read out of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.db import models, transaction
from django.db.models import F, Q, Sum
from django.urls import reverse
from django.utils import timezone

from django_river import operations
from django_river.models import Job
from library.reading import Format, LinkKind, count_words


class DocumentQuerySet(models.QuerySet["Document"]):
    """Which documents stand where."""

    def failed(self) -> DocumentQuerySet:
        """Documents whose file could not be read."""
        return self.exclude(problem="")

    def unsettled(self) -> DocumentQuerySet:
        """Documents that are still being worked on; one that failed or waits for approval is not."""
        unfinished = Q(indexed_at__isnull=True) | Q(links_checked_at__isnull=True)
        return self.filter(unfinished, is_approved=True, problem="")

    def search(self, query: str) -> DocumentQuerySet:
        """Documents that contain every word of the query, those that use them most first."""
        words = list(count_words(query))
        found = self.filter(word_counts__word__in=words)
        found = found.annotate(hits=Sum("word_counts__count"), matched=models.Count("word_counts__word"))
        return found.filter(matched=len(words)).order_by("-hits", "title")


class Document(models.Model):
    """A text in the reading-room. Its file is read by a job; saving it for the first time enqueues that job."""

    title = models.CharField(max_length=200)
    name = models.CharField(
        max_length=500, help_text="Where it stands in its distribution, or the upload's name."
    )
    distribution = models.CharField(max_length=200, blank=True, help_text="Empty for an upload.")
    path = models.CharField(max_length=1000, help_text="The file on this machine.")
    sha256 = models.CharField(max_length=64, unique=True)
    size = models.PositiveIntegerField()
    format = models.CharField(max_length=10, choices=[(form.value, form.value) for form in Format])
    is_approved = models.BooleanField(
        default=True, help_text="A visitor's upload waits until the staff approves it."
    )
    added_at = models.DateTimeField(default=timezone.now)

    text = models.TextField(blank=True)
    words = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True, help_text="Why the last attempt to read it failed.")
    read_at = models.DateTimeField(null=True, blank=True)
    indexed_at = models.DateTimeField(null=True, blank=True)
    links_checked_at = models.DateTimeField(null=True, blank=True)
    related = models.ManyToManyField("self", symmetrical=False, blank=True)

    objects = DocumentQuerySet.as_manager()

    class Meta:
        ordering = ("-added_at", "-id")

    def __str__(self) -> str:
        return self.title

    @transaction.atomic
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row and, through ``post_save``, its job: the signal is sent within this transaction."""
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("document", args=[self.pk])

    @property
    def status(self) -> str:
        """One word for the reader."""
        if not self.is_approved:
            return "waiting for approval"
        if self.problem:
            return "failed"
        if self.indexed_at and self.links_checked_at:
            return "indexed"
        return "read" if self.read_at else "waiting"

    def read_bytes(self) -> bytes:
        """The file's content."""
        return Path(self.path).read_bytes()

    def jobs(self) -> models.QuerySet[Job]:
        """The jobs about this document, newest first.

        No index helps here: a site with millions of jobs would rather keep the ids that ``enqueue`` returns.
        """
        return Job.objects.filter(args__document_id=self.pk).order_by("-id")

    def approve(self) -> None:
        """Let a visitor's upload in: its job has been pending since, and starts now."""
        with transaction.atomic():
            Document.objects.filter(pk=self.pk).update(is_approved=True)
            operations.retry(self.jobs().in_state("pending"))


class WordCount(models.Model):
    """How often one word occurs in one document."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="word_counts")
    word = models.CharField(max_length=40)
    count = models.PositiveIntegerField()

    class Meta:
        ordering = ("-count", "word")
        constraints = [models.UniqueConstraint(fields=["document", "word"], name="one_count_per_word")]
        indexes = [models.Index(F("word"), F("document"), name="library_word_idx")]

    def __str__(self) -> str:
        return f"{self.word}: {self.count}"


class Link(models.Model):
    """A link found in a document."""

    document = models.ForeignKey(Document, models.CASCADE, related_name="links")
    target = models.CharField(max_length=1000)
    label = models.CharField(max_length=200, blank=True)
    kind = models.CharField(max_length=10, choices=[(kind.value, kind.value) for kind in LinkKind])
    problem = models.CharField(
        max_length=300, blank=True, help_text="What is wrong with it, as far as was checked."
    )

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return self.label or self.target

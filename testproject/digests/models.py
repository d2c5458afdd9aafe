"""Readers, editions, and which reader has received which edition."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Reader(models.Model):
    """Somebody who wants the digest."""

    name = models.CharField(max_length=100)
    email = models.EmailField(unique=True)

    class Meta:
        ordering = ("email",)

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class Edition(models.Model):
    """A digest as it was on a day: its text is fixed when it is made."""

    day = models.DateField()
    subject = models.CharField(max_length=200)
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.subject


class Delivery(models.Model):
    """An edition that a reader has been sent."""

    edition = models.ForeignKey(Edition, models.CASCADE, related_name="deliveries")
    reader = models.ForeignKey(Reader, models.CASCADE, related_name="deliveries")
    sent_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("id",)
        verbose_name_plural = "deliveries"
        constraints = [models.UniqueConstraint(fields=["edition", "reader"], name="one_delivery_per_reader")]

    def __str__(self) -> str:
        return f"{self.edition} → {self.reader}"


class LiveDigest(models.Model):
    """The room as it was a moment ago. The last one is shown on every page; some are kept to look back at."""

    began_at = models.DateTimeField()
    made_at = models.DateTimeField(default=timezone.now, db_index=True)
    made_by = models.CharField(max_length=300, help_text="Host and process.")
    cache_built_at = models.DateTimeField()
    documents = models.PositiveIntegerField()
    words = models.PositiveBigIntegerField()
    most_frequent = models.JSONField(default=list)

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.documents} documents, {self.words} words"

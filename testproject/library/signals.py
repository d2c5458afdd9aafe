"""A new document is ingested: the job is stored in the transaction that stores the document."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver

from library.jobs import request_ingestion
from library.models import Document


@receiver(post_save, sender=Document, dispatch_uid="library.ingest_new_document")
def ingest_new_document(instance: Document, *, created: bool, raw: bool = False, **kwargs: Any) -> None:
    """Both commit or vanish together, so there is never a document without its job, nor a job without its document."""
    if created and not raw:
        request_ingestion(instance)

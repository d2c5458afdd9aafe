"""How documents come into the reading-room: uploaded, or found on this machine."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile

from library.models import Document
from library.reading import Format
from library.sources import Source


def add_upload(file: UploadedFile, *, is_approved: bool) -> tuple[Document, bool]:
    """Keep an uploaded file; returns its document and whether it is new. The same content is kept once."""
    data = file.read()
    digest = sha256(data).hexdigest()
    name = Path(file.name or "upload.txt").name[-200:]
    path = Path(settings.MEDIA_ROOT) / f"{digest[:16]}{Path(name).suffix.lower()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file is there before its row, and the row before its job may run.
    path.write_bytes(data)
    return Document.objects.get_or_create(
        sha256=digest,
        defaults={
            "title": name,
            "name": name,
            "path": str(path),
            "size": len(data),
            "format": Format.of(name).value,
            "is_approved": is_approved,
        },
    )


def add_source(source: Source) -> tuple[Document, bool]:
    """Add a file that an installed distribution ships; returns its document and whether it is new."""
    return Document.objects.get_or_create(
        sha256=source.sha256,
        defaults={
            "title": source.name[-200:],
            "name": source.name[-500:],
            "distribution": source.distribution,
            "path": str(source.path),
            "size": source.size,
            "format": Format.of(source.name).value,
        },
    )

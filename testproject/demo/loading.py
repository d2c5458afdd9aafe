"""Fill the reading-room, in the three ways a document can come in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser, User
from django.core.files.base import ContentFile
from django.db import transaction
from django.test import Client
from django.urls import reverse

from digests.models import Reader
from django_river import enqueue_many
from library.adding import add_source
from library.jobs import LAST, ingest
from library.models import Document
from library.reading import decode
from library.sources import Source, installed_documents

NAME, PASSWORD = "admin", "gazette"
READERS = {"Ada": "ada@example.org", "Grace": "grace@example.org", "Katherine": "katherine@example.org"}

#: Text as it lies on many an old disk: Latin-1, which is no UTF-8.
LATIN_1_LETTER = "Un café crème, s'il vous plaît.\n\nDéjà lu à Besançon, l'été passé.\n".encode("latin-1")
VISITORS_LETTER = b"""# A letter to the editor

Dear Gazette, may this be read by others? It waits for the [staff](mailto:staff@example.org) to approve it.
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of the loading."""

    added: int
    asked_again: int
    #: The undecodable file that was found among the installed ones, if any.
    undecodable: Source | None


def superuser() -> User:
    """The demo's superuser, its password set anew."""
    user, _ = User.objects.get_or_create(username=NAME, defaults={"is_staff": True, "is_superuser": True})
    if not user.check_password(PASSWORD):
        user.set_password(PASSWORD)
        user.save()
    return user


def add_readers() -> None:
    """Three people who want the digest."""
    for name, email in READERS.items():
        Reader.objects.get_or_create(email=email, defaults={"name": name})


def load_installed(limit: int | None) -> Loaded:
    """Add what the installed distributions ship.

    A new document's job is enqueued by the signal of its row. Those of an earlier run are asked for again, all at once.
    """
    sources = list(itertools.islice(installed_documents(), limit))
    known: list[Document] = []
    with transaction.atomic():
        for source in sources:
            document, is_new = add_source(source)
            if not is_new:
                known.append(document)
        enqueue_many(ingest.using(priority=LAST).build(document.pk) for document in known)
    return Loaded(len(sources) - len(known), len(known), _undecodable(sources))


def upload(name: str, content: bytes, *, user: AbstractBaseUser | None) -> None:
    """Send a file through the site's own upload page, as this user or as a visitor.

    Raises :class:`RuntimeError` if the page does not take it.
    """
    client = Client(SERVER_NAME="localhost")
    if user is not None:
        client.force_login(user)
    response = client.post(reverse("upload"), {"file": ContentFile(content, name=name)})
    if response.status_code != 302:
        raise RuntimeError(f"the upload page answered {response.status_code} to {name}")


def _undecodable(sources: Iterable[Source]) -> Source | None:
    for source in sources:
        try:
            decode(source.path.read_bytes())
        except UnicodeDecodeError:
            return source
    return None

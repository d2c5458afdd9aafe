"""The union catalogue: an HTTP service that wants to be told of documents, many at once, and refuses to be called often."""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from django.conf import settings

from django_river import JobSnooze

TIMEOUT = 10


def announce(titles: Mapping[int, str]) -> dict[int, str]:
    """Tell of documents in one call; what is wrong with some, by id.

    Raises :class:`JobSnooze` when it was called too often, for as long as it asks for.
    """
    body = json.dumps({str(pk): title for pk, title in titles.items()}).encode()
    request = Request(settings.CATALOGUE_URL, data=body, headers={"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:
            return {int(pk): problem for pk, problem in json.load(answer).items()}
    except HTTPError as error:
        if error.code == 429:
            raise JobSnooze(float(error.headers.get("Retry-After", 1))) from error
        raise

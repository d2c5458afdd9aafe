"""The live digest: the reading-room in figures, every 250 ms, out of a cache in memory that is costly to have.

Its queue is the leader's (``LEADER_ONLY``). So one process keeps the cache, however many work; when that process is killed, the next
leader builds its own and goes on. On any other queue each run might be in another process, and every process would keep one.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Sum
from django.dispatch import receiver
from django.utils import timezone

from digests.models import LiveDigest
from django_river import job, periodic
from django_river.signals import leader_lost
from library.models import Document, WordCount

INTERVAL = timedelta(milliseconds=250)
#: Digests are kept for a few minutes, to look back at.
KEPT_FOR = timedelta(minutes=5)
MOST_FREQUENT = 5


class Vocabulary:
    """How often each word occurs in the whole room. Reading them all takes long; keeping up with new documents does not."""

    def __init__(self) -> None:
        began = time.monotonic()
        self.built_at = timezone.now()
        self.counts: Counter[str] = Counter()
        self.documents = 0
        self._seen_until: datetime | None = None
        self.catch_up()
        # A small room is read in no time; a real one is not, and the demo is to show what that means.
        time.sleep(max(0.0, settings.LIVE_DIGEST_BUILD_SECONDS - (time.monotonic() - began)))

    def catch_up(self) -> None:
        """Add what has been indexed since we looked."""
        indexed = Document.objects.filter(indexed_at__isnull=False)
        if self._seen_until is not None:
            indexed = indexed.filter(indexed_at__gt=self._seen_until)
        new = dict(indexed.values_list("pk", "indexed_at"))
        if not new:
            return
        words = WordCount.objects.filter(document__in=new).order_by()
        self.counts.update(dict(words.values_list("word").annotate(Sum("count"))))
        self.documents += len(new)
        self._seen_until = max(new.values())


#: Built by the first digest of a term, forgotten when the term is over.
_vocabulary: Vocabulary | None = None


@receiver(leader_lost)
def forget(**_: object) -> None:
    """Whoever leads no longer need not keep the cache, and must not come back to an old one."""
    global _vocabulary  # noqa: PLW0603  (one per process is the point)
    _vocabulary = None


# While one builds the cache, those that would wait for it are left out; one that fails needs no second attempt.
@periodic(every=INTERVAL, overlap=False, enabled=settings.LIVE_DIGEST)
@job(queue="live", max_attempts=1)
def make_live_digest() -> None:
    """Make one digest."""
    began_at = timezone.now()
    vocabulary = _current_vocabulary()
    vocabulary.catch_up()
    digest = LiveDigest.objects.create(
        began_at=began_at,
        made_by=f"{socket.gethostname()}:{os.getpid()}",
        cache_built_at=vocabulary.built_at,
        documents=vocabulary.documents,
        words=vocabulary.counts.total(),
        most_frequent=vocabulary.counts.most_common(MOST_FREQUENT),
    )
    LiveDigest.objects.filter(made_at__lt=digest.made_at - KEPT_FOR).delete()


def _current_vocabulary() -> Vocabulary:
    global _vocabulary  # noqa: PLW0603
    if _vocabulary is None:
        _vocabulary = Vocabulary()
    return _vocabulary

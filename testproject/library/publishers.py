"""A queue for each publisher: whoever ships a thousand documents keeps nobody else's waiting.

The pattern ``publisher-*`` in the settings says what holds for all of them; a row that is added here lets the staff give
one of them more, or pause it.
"""

from __future__ import annotations

import re
from contextlib import suppress

from django_river import QueueExists, queues

UPLOADS = "ingest"
#: Longest name of a queue, less the prefix.
LONGEST = 50


def queue_of(distribution: str) -> str:
    """The queue in which a publisher's documents wait to be read; visitors' uploads share one."""
    words = re.findall(r"[a-z0-9]+", distribution.lower())
    return f"publisher-{'-'.join(words)[:LONGEST].rstrip('-')}" if words else UPLOADS


def open_queue(distribution: str) -> str:
    """The publisher's queue, added while the workers run if it is not there."""
    name = queue_of(distribution)
    if name != UPLOADS and name not in opened:
        # An earlier process may have added it, or another one just now.
        with suppress(QueueExists):
            queues.add(name)
        opened.add(name)
    return name


#: Those that this process has seen to. One that is rolled back is let in by the pattern all the same.
opened: set[str] = set()

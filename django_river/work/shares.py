"""Who gets how many of a client's slots, when they are fewer than its queues may use and not all queues are alike.

Every queue first gets the slots that are reserved for it. The rest is shared by those that can use more, each getting its
next slot when it has the fewest for its weight: so what one leaves is used by the others at once. Reserved slots that
are not in use stay free.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from django_river.work.producer import Producer


@dataclass(slots=True)
class Share:
    """One queue's part."""

    #: How many jobs it could run now.
    wanted: int
    #: How many it runs.
    running: int
    reserved: int = 0
    weight: int = 1
    #: How many it should have.
    fair: int = 0
    #: How many of these it can have now; more when others have given way.
    granted: int = 0

    @property
    def allowance(self) -> int:
        """How many it may run until the next look."""
        return min(self.fair, self.running + self.granted)


def share_out(shares: Sequence[Share], slots: int) -> None:
    """Say of each how many slots it should have, and how many it can have now."""
    for share in shares:
        share.fair = min(share.wanted, share.reserved)
    kept = sum(max(share.reserved, share.fair) for share in shares)
    _fill(shares, slots - kept)
    free = slots - sum(max(share.running, share.reserved) for share in shares)
    for share in shares:
        share.granted = max(0, min(share.fair, share.reserved) - share.running)
    # Whoever lacks most of what it should have comes first.
    for share in sorted(shares, key=lambda share: share.running / max(1, share.fair)):
        more = max(0, min(free, share.fair - share.running - share.granted))
        share.granted += more
        free -= more


def _fill(shares: Sequence[Share], left: int) -> None:
    line = [
        (share.fair / share.weight, place) for place, share in enumerate(shares) if share.fair < share.wanted
    ]
    heapq.heapify(line)
    while left > 0 and line:
        _, place = line[0]
        share = shares[place]
        share.fair += 1
        left -= 1
        if share.fair < share.wanted:
            heapq.heapreplace(line, (share.fair / share.weight, place))
        else:
            heapq.heappop(line)


def are_needed(producers: Collection[Producer], slots: int) -> bool:
    """Whether slots have to be shared out: some queue has a reserve or a weight, and not all can have what they may."""
    if all(one.config.min_workers == 0 and one.config.weight == 1 for one in producers):
        return False
    return sum(one.config.most_workers for one in producers) > slots


def of(producers: Collection[Producer]) -> list[tuple[Producer, Share]]:
    """The share of each queue that runs something, can run more, or has a reserve."""
    found = []
    for producer in producers:
        missing = producer.missing()
        config, running = producer.config, producer.running
        if missing or producer.load or config.min_workers:
            wanted = min(producer.max_workers, producer.load + missing)
            found.append((producer, Share(wanted, running, config.min_workers, config.weight)))
    return found


def size_of_claim(producer: Producer, share: Share) -> int:
    """How many jobs to claim for a queue: for the slots it gets, and what it is done with in a moment."""
    if not share.allowance:
        return 0
    ahead = 0 if producer.config.is_limited else producer.prefetch
    size = min(producer.missing(), share.allowance + ahead - producer.load)
    # Only to look ahead, a later claim brings more.
    return size if share.granted or size > ahead // 2 else 0

"""Which statement claims from which queue: one for all that are plain, and one for those that have to be counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from django_river.storage.base import ClaimedJob, Demand, Storage
from django_river.storage.queues import Claim, LimitedDemand
from django_river.terms import Term
from django_river.work.producer import Producer


def claim(
    storage: Storage,
    client_id: str,
    demands: Sequence[Demand],
    limit: int,
    *,
    producers: Mapping[str, Producer],
    plain: Callable[[list[Demand], int], list[ClaimedJob]],
    as_leader: Callable[[Term, list[Demand], int], list[ClaimedJob]],
    term_of: Callable[[str], Term | None],
) -> Claim:
    """Claim for all demands, no more than ``limit`` together.

    Whoever asks comes in turn, so the statement of the first demand is the first one: else queues that have to be counted
    would get what the others leave. The claim of queues that only a leader works carries its term, which ``term_of``
    looks up.
    """
    groups: dict[tuple[bool, bool], list[Demand]] = {}
    for demand in demands:
        producer = producers[demand.queue]
        groups.setdefault((producer.config.is_limited, producer.is_leader_bound), []).append(demand)
    done = Claim()
    for (is_limited, is_bound), part in groups.items():
        room = limit - len(done.jobs)
        term = term_of(part[0].queue) if is_bound and room > 0 else None
        if room <= 0 or (is_bound and term is None):
            continue
        if is_limited:
            asked = [_limited(demand, producers[demand.queue]) for demand in part]
            found = storage.job_fetch_limited(client_id, asked, room, term=term)
            done.jobs += found.jobs
            done.again_in |= found.again_in
        elif term is not None:
            done.jobs += as_leader(term, part, room)
        else:
            done.jobs += plain(part, room)
    return done


def _limited(demand: Demand, producer: Producer) -> LimitedDemand:
    config = producer.config
    most = config.global_max_workers
    return LimitedDemand(
        queue=demand.queue,
        limit=demand.limit if most is None else min(demand.limit, most),
        most=most,
        rate=config.rate_limit,
        ageing=config.priority_ageing,
    )

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

    The claim of queues that only a leader works carries its term, which ``term_of`` looks up.
    """
    free = [demand for demand in demands if not producers[demand.queue].config.is_limited]
    unbound = [demand for demand in free if not producers[demand.queue].is_leader_bound]
    done = Claim(plain(unbound, limit) if unbound else [])
    if len(unbound) == len(demands):
        return done
    bound = [demand for demand in free if producers[demand.queue].is_leader_bound]
    term = term_of(bound[0].queue) if bound else None
    if term is not None and len(done.jobs) < limit:
        done.jobs += as_leader(term, bound, limit - len(done.jobs))
    for is_bound in (False, True):
        part = [
            demand
            for demand in demands
            if producers[demand.queue].config.is_limited
            and producers[demand.queue].is_leader_bound is is_bound
        ]
        term = term_of(part[0].queue) if part and is_bound else None
        if not part or len(done.jobs) >= limit or (is_bound and term is None):
            continue
        asked = [_limited(demand, producers[demand.queue]) for demand in part]
        found = storage.job_fetch_limited(client_id, asked, limit - len(done.jobs), term=term)
        done.jobs += found.jobs
        done.again_in |= found.again_in
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

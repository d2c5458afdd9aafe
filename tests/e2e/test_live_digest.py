"""The Gazette's live digest, as its readers see it: always fresh, made in one place, taken over when that is killed."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from tests.e2e.test_demo import gazette  # noqa: F401  (a fixture)
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

BUILD_SECONDS = 0.5
ENQUEUE = "from digests.live import make_live_digest; make_live_digest.enqueue()"
#: Between one digest and the next, in seconds.
GAPS = """
SELECT extract(epoch FROM made_at - lag(made_at) OVER (ORDER BY id))::float8 AS gap,
    began_at < lag(made_at) OVER (ORDER BY id) AS overlaps,
    made_by <> lag(made_by) OVER (ORDER BY id) AS is_taken_over
FROM digests_livedigest
ORDER BY id
OFFSET 1
"""


@pytest.fixture
def site(gazette):  # noqa: F811
    """A migrated Gazette whose live digest has been asked for, and a way to ask its database."""
    gazette.environ["LIVE_DIGEST_BUILD_SECONDS"] = str(BUILD_SECONDS)
    gazette.run("migrate", "--verbosity=0")
    gazette.run("shell", "--verbosity=0", "-c", ENQUEUE)
    with closing(psycopg.connect(gazette.url, autocommit=True)) as database:
        gazette.ask = lambda sql: database.execute(sql).fetchall()
        yield gazette


def test_it_is_never_old_and_survives_its_leader(site):
    def digests(more_than, made_by=None):
        count = "SELECT count(*), (array_agg(made_by ORDER BY id DESC))[1] FROM digests_livedigest"
        ((number, last),) = site.ask(count)
        return number > more_than and last != made_by and (number, last)

    workers = [site.start("runworkers", "--verbosity=0") for _ in range(2)]
    try:
        wait_until(lambda: site.ask("SELECT count(session) FROM django_river_client") == [(2,)], 30)
        number, maker = wait_until(lambda: digests(8), 30)
        ((pid,),) = site.ask("SELECT pid FROM river_leader JOIN django_river_client ON id = leader_id")
        next(worker for worker in workers if worker.pid == pid).kill()
        number, _ = wait_until(lambda: digests(number, made_by=maker), 30)
        wait_until(lambda: digests(number + 8), 30)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()

    gaps = site.ask(GAPS)
    assert not any(overlaps for _, overlaps, _ in gaps)
    # One second is the aim, which the benchmark measures; here other tests use the processor, too.
    assert max(gap for gap, _, is_taken_over in gaps if not is_taken_over) < 2.5
    (taken_over,) = [gap for gap, _, is_taken_over in gaps if is_taken_over]
    assert taken_over < 2.0 + BUILD_SECONDS + 2.5
    built = site.ask("SELECT count(DISTINCT cache_built_at) FROM digests_livedigest GROUP BY made_by")
    assert built == [(1,), (1,)]

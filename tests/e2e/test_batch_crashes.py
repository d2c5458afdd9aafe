"""A batch that completes in its transaction survives kill -9: nothing is done twice, nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CRASHES = 12


@pytest.mark.slow
def test_a_killed_batch_is_done_in_full_or_not_at_all(process_environ):
    command = [sys.executable, "-m", "tests.e2e.batch_crashes", "--crashes", str(CRASHES)]
    done = subprocess.run(
        command, cwd=ROOT, env=process_environ, capture_output=True, text=True, timeout=120, check=False
    )
    report = json.loads(done.stdout.splitlines()[-1]) if done.stdout else done.stderr

    assert report == {
        "killed": {"before": CRASHES // 2, "after": CRASHES // 2},
        "ended": 0,
        "problems": [],
        "left": 0,
        "jobs": 20 * CRASHES,
        "applied": 20 * CRASHES,
    }

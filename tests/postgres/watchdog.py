"""Ends a test server and removes its folder when the process that started it is gone, however it went.

Standard input is a pipe that only that process holds open. Imports nothing but the standard library.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def main(folder: Path) -> None:
    """Wait for the end of standard input, then clean up what is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int((folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        give_up_at = time.monotonic() + 10
        while time.monotonic() < give_up_at:
            os.kill(pid, 0)
            time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

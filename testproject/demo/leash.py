"""Run a Python command that ends when the process which started it ends, even by ``kill -9`` (Linux).

``python leash.py PARENT_PID manage.py runworkers …`` asks the kernel for SIGTERM at the parent's death, then becomes
that command. Elsewhere the parent's own clean-up has to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *command = sys.argv[1:]
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before we asked
        sys.exit(1)
    os.execv(sys.executable, [sys.executable, *command])


if __name__ == "__main__":
    main()

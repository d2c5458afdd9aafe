"""``python -m tests.postgres COMMAND …`` runs a command with ``DATABASE_URL`` naming a fresh server."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.postgres import Server


def main(command: list[str]) -> int:
    """Run the command, or without one a shell; its exit code is ours."""
    with Server() as server:
        environ = os.environ | {"DATABASE_URL": server.url, "RIVER_TEST_DATABASE": "postgres"}
        return subprocess.run(command or [os.environ.get("SHELL", "sh")], env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

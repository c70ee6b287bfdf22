"""A PostgreSQL server of its own for tests: in a directory that goes with it, reached through a socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

_ROOT = 0


def binaries() -> Path:
    """Directory of the server's programs: where Debian puts them, newest first, else where `postgres` is found."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    assert on_path is not None, (
        "no PostgreSQL server here: `make test` installs it (Debian: apt-get install postgresql)"
    )
    return Path(on_path).resolve().parent


def _somebody() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


class PostgreSql:
    """Starts, stops and starts again. It is not run by root, who may not: where root tests it is another user's."""

    def __init__(self) -> None:
        # Where every user gets to, and short: the name of a socket has 107 bytes at most.
        self.directory = Path(tempfile.mkdtemp(prefix="tidebook-pg-", dir="/tmp"))
        self._as: dict[str, Any] = {}
        if os.getuid() == _ROOT:
            owner = _somebody()
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
            self._as = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        self.directory.chmod(0o755)
        self._data = self.directory / "data"
        self._names = count(1)
        self._run("initdb", "--username=tidebook", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = {"unix_socket_directories": self.directory, "listen_addresses": "", "fsync": "off"}
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self.directory / 'log'}", f"--options={options}")

    def stop(self, mode: str = "fast") -> None:
        """`fast` undoes what is open and ends; `immediate` ends as if it were killed. Returns when it has ended."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def new_database(self) -> str:
        """Address of an empty database."""
        name = f"audit{next(self._names)}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.address(name)

    def set(self, name: str, value: str) -> None:
        """Changes a setting; returns when new connections have it."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")
        shown = None
        while shown != value:
            with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
                (shown,) = connection.execute(f"SHOW {name}").fetchone() or (None,)

    def address(self, database: str) -> str:
        return f"postgresql://tidebook@/{database}?host={self.directory}"

    def remove(self) -> None:
        """Ends it, if it runs, and removes its directory."""
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.directory)

    def _run(self, program: str, *arguments: str) -> None:
        # Into a file: the server inherits its output, and a pipe would not end before it does.
        said = self.directory / f"{program}.out"
        with said.open("wb") as output:
            done = subprocess.run(
                [binaries() / program, f"--pgdata={self._data}", *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                **self._as,
            )
        assert done.returncode == 0, f"{program}: {said.read_text()}"

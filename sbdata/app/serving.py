"""Start the FiftyOne app on a port of this machine, and stop it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from sbdata.errors import InputError

if TYPE_CHECKING:
    import fiftyone as fo

_START_SECONDS = 600.0  # on a busy machine; an idle one takes ten to twenty
_ANSWER_SECONDS = 60.0
_END_SECONDS = 10.0


def check_port(address: str, port: int) -> None:
    """Check that a port is free, before a set is loaded, which takes minutes.

    If another FiftyOne app answered there, FiftyOne would show that app, with another database.

    Raises:
        InputError: If the port is taken, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name != "nt":  # as the server does: a port that was just released counts as free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except socket.gaierror as error:
        msg = f"--address {address}: not an address of this machine; give 127.0.0.1"
        raise InputError(msg) from error
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"port {port} of {address} cannot be used ({reason}); give another by --port"
        raise InputError(msg) from error


@contextmanager
def serving(dataset: fo.Dataset, address: str, port: int, spaces: Any = None) -> Iterator[None]:
    """Show a dataset in the app, and end all processes of the app afterwards.

    FiftyOne waits only a minute for its server, which is too short on a busy machine. So the server
    is started and awaited here, and FiftyOne's session then finds it.

    Args:
        dataset: Dataset that is shown first.
        address: Address to listen on.
        port: Port to listen on.
        spaces: Panels that are open at first; FiftyOne's own by default.

    Raises:
        InputError: If the server exits or does not answer.
    """
    import fiftyone as fo
    import psutil

    former = {child.pid for child in psutil.Process().children(recursive=True)}
    server = None
    try:
        server = _start_server(address, port)
        with _without_services():
            fo.launch_app(
                dataset, port=port, address=address, remote=True, auto=False, spaces=spaces
            )
        yield
    finally:
        with suppress(Exception):  # its processes are ended below in any case
            fo.close_app()
        children = psutil.Process().children(recursive=True)
        _end([child for child in children if child.pid not in former])
        del server


def _start_server(address: str, port: int) -> Any:
    """Start FiftyOne's server, and return it once it answers."""
    import requests
    from fiftyone.core.service import ServerService, Service

    class Server(ServerService):  # type: ignore[misc]
        def start(self) -> None:
            Service.start(self)  # without its parent's wait

        def stop(self) -> None:
            self.child.stdin.close()  # this ends the process; _end waits for it

    server = Server(port, address=address, do_not_track=_is_tracking_off())
    host = "127.0.0.1" if address == "0.0.0.0" else address  # noqa: S104 - it is compared only
    url = f"http://{host}:{port}/fiftyone"
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and server.child.poll() is None:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=_ANSWER_SECONDS).ok:
                return server
        time.sleep(0.25)
    msg = f"FiftyOne's server did not start on port {port} of {address}; see its output above"
    raise InputError(msg)


def _is_tracking_off() -> bool:
    import fiftyone as fo

    return bool(fo.config.do_not_track)


@contextmanager
def _without_services() -> Iterator[None]:
    """Prevent FiftyOne's session from starting a second server."""
    name = "FIFTYONE_DISABLE_SERVICES"
    former = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if former is None:
            del os.environ[name]
        else:
            os.environ[name] = former


def _end(processes: list[Any]) -> None:
    """End processes; kill those that do not react."""
    import psutil

    _, stubborn = psutil.wait_procs(processes, timeout=1)
    for process in stubborn:
        with suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(stubborn, timeout=_END_SECONDS)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the block as Ctrl-C does, so that its processes are stopped."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    finally:
        for name, handler in former.items():
            signal.signal(getattr(signal, name), handler)

"""The port is looked at before anything is started, and signals end what was started."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from sbdata.app.database import free_port
from sbdata.app.serving import check_port, stopping_on_signals
from sbdata.errors import InputError


def test_a_port_in_use_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} of 127\.0\.0\.1 .*--port") as caught:
            check_port("127.0.0.1", port)
    assert "\n" not in str(caught.value)


def test_a_free_port_is_left_free():
    port = free_port()
    check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


@pytest.mark.parametrize("address", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_of_this_machine(address):
    with pytest.raises(InputError):
        check_port(address, free_port())


def test_a_signal_ends_the_block_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stopping_on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before

"""When to ask again, and when not."""

from __future__ import annotations

import os
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.fetch import retries
from sbdata.fetch.retries import (
    MAX_PAUSE,
    MAX_RETRY_AFTER,
    PassingError,
    RefusedError,
    delay,
    persist,
    retry_after_seconds,
)


def half():
    return 0.5


def failing(*answers, gains=()):
    """An ``ask`` that gives these answers in turn, and the pauses it led to."""
    left, gained, pauses = list(answers), list(gains), []

    def ask():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(**changes):
        options = {"attempts": 3, "pause": 1.0, "wait": pauses.append, "jitter": half, **changes}
        if gains:
            options["gained"] = lambda: gained.pop(0)
        return persist(ask, **options)

    return run, pauses


def test_the_first_good_answer_is_returned():
    run, pauses = failing(PassingError("cut"), PassingError("cut"), "good", "unasked")
    assert run() == "good"
    assert pauses == [0.75, 1.5]


def test_it_gives_up_after_so_many_failures_in_a_row():
    run, pauses = failing(*[PassingError("cut")] * 9)
    with pytest.raises(RefusedError, match=r"cut \(tried 3 times\)"):
        run()
    assert len(pauses) == 2


def test_one_attempt_is_one():
    run, pauses = failing(PassingError("cut"), "unasked")
    with pytest.raises(RefusedError, match=r"cut \(tried once\)"):
        run(attempts=1)
    assert pauses == []


def test_a_failure_that_brought_something_begins_the_row_anew():
    run, pauses = failing(*[PassingError("cut")] * 20, "good", gains=[True] * 20)
    assert run(attempts=2) == "good"
    assert pauses == [0.75] * 20


def test_gains_do_not_help_afterwards():
    run, _ = failing(*[PassingError("cut")] * 9, gains=[True, False, True, False, False])
    with pytest.raises(RefusedError, match="tried 5 times"):
        run(attempts=3)


def test_the_server_says_when():
    run, pauses = failing(PassingError("busy", 7.5), PassingError("busy", 0.0), "good")
    assert run() == "good"
    assert pauses == [7.5, 0.0]


def test_a_server_that_says_much_later_is_given_up():
    run, pauses = failing(PassingError("answered 429", MAX_RETRY_AFTER + 1), "unasked")
    with pytest.raises(RefusedError, match="answered 429 and asks to wait 601 seconds"):
        run()
    assert pauses == []


def test_other_errors_go_through_at_once():
    run, pauses = failing(RefusedError("answered 404"), "unasked")
    with pytest.raises(RefusedError, match=r"^answered 404$"):
        run()
    assert pauses == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("3", 3), ("-3", 0), ("nan", None), ("inf", None), ("soon", None), ("", None)],
)
def test_retry_after_is_read_with_care(header, seconds):
    assert retry_after_seconds(header) == seconds


def test_retry_after_may_be_a_date():
    now = 1_700_000_000.0
    assert retry_after_seconds(formatdate(now + 9, usegmt=True), lambda: now) == 9
    assert retry_after_seconds(formatdate(now - 9, usegmt=True), lambda: now) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True), st.floats(0.001, 10))
def test_pauses_double_lose_up_to_a_half_and_are_capped(attempt, share, pause):
    seconds = delay(pause, attempt, None, lambda: share)
    most = pause * 2.0 ** (attempt - 1) if attempt < 100 else float("inf")
    assert min(most / 2, MAX_PAUSE) <= seconds <= min(most, MAX_PAUSE)


def test_clients_that_want_the_same_file_do_not_come_back_together():
    def pauses_of_a_client():
        run, pauses = failing(PassingError("busy"), PassingError("busy"), "good")
        run(jitter=retries._JITTER.random)
        return tuple(pauses)

    assert len({pauses_of_a_client() for _ in range(50)}) == 50


def test_forked_clients_do_not_share_their_draws():
    """A generator that is copied into a child gives the child the parent's numbers."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, f"{delay(1.0, 1, None)!r}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    drawn = float(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    assert drawn != delay(1.0, 1, None)


def test_the_longest_pause_asked_for_is_still_kept(monkeypatch):
    monkeypatch.setattr(retries, "MAX_RETRY_AFTER", 5.0)
    run, pauses = failing(PassingError("busy", 5.0), "good")
    assert run() == "good"
    assert pauses == [5.0]

"""When to ask again, and when not."""

from __future__ import annotations

import time
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


def failing(*answers, gains=()):
    """An ``ask`` that gives these answers in turn, and the pauses it led to."""
    left, gained, pauses = list(answers), list(gains), []

    def ask():
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(**changes):
        options = {"attempts": 3, "pause": 1.0, "who": "a", "wait": pauses.append, **changes}
        if gains:
            options["gained"] = lambda: gained.pop(0)
        return persist(ask, **options)

    return run, pauses


def test_the_first_good_answer_is_returned():
    run, pauses = failing(PassingError("cut"), PassingError("cut"), "good", "unasked")
    assert run() == "good"
    assert pauses == [delay(1.0, 1, "a", None), delay(1.0, 2, "a", None)]


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
    assert pauses == [delay(1.0, 1, "a", None)] * 20


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
    with pytest.raises(RefusedError, match="answered 429 and asks to come back in 601 seconds"):
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
    assert 6 < retry_after_seconds(formatdate(time.time() + 9, usegmt=True)) <= 9
    assert retry_after_seconds(formatdate(time.time() - 9, usegmt=True)) == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5000), st.text(max_size=5), st.floats(0.001, 10))
def test_pauses_double_lose_up_to_a_half_and_are_capped(attempt, who, pause):
    seconds = delay(pause, attempt, who, None)
    most = pause * 2.0 ** (attempt - 1) if attempt < 100 else float("inf")
    assert min(most / 2, MAX_PAUSE) <= seconds <= min(most, MAX_PAUSE)
    assert seconds == delay(pause, attempt, who, None)


def test_clients_do_not_come_back_together():
    assert len({delay(1.0, 1, f"client {i}", None) for i in range(50)}) == 50


def test_the_longest_pause_asked_for_is_still_kept(monkeypatch):
    monkeypatch.setattr(retries, "MAX_RETRY_AFTER", 5.0)
    run, pauses = failing(PassingError("busy", 5.0), "good")
    assert run() == "good"
    assert pauses == [5.0]

"""The order of answers, the bound on work under way, and what ends a run early."""

from __future__ import annotations

import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sbdata.errors import InputError
from sbdata.parallel import run_each


def negative(value: int) -> int:
    return -value


def with_process(item: int) -> tuple[int, int]:
    return item, os.getpid()


def die(value: int) -> int:
    os._exit(value)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(), max_size=40), st.integers(1, 5))
def test_answers_come_in_the_order_of_the_items(items, workers):
    assert run_each(negative, items, workers=workers) == [-item for item in items]


def test_answers_of_processes_come_in_order_from_other_processes():
    found = run_each(with_process, range(20), workers=2, processes=True)
    assert [item for item, _ in found] == list(range(20))
    assert os.getpid() not in {process for _, process in found}


def test_one_worker_needs_no_other_process():
    assert run_each(with_process, [5, 6], workers=1, processes=True) == [
        (5, os.getpid()),
        (6, os.getpid()),
    ]


def test_one_slow_item_holds_up_no_other():
    release = threading.Event()
    done = []

    def work(item):
        if item == 0:
            assert release.wait(10)
        done.append(item)
        if len(done) == 99:
            release.set()
        return item

    assert run_each(work, range(100), workers=2) == list(range(100))
    assert done[-1] == 0


def test_few_items_are_taken_ahead():
    taken = []
    finished = []

    class Items(list):
        def __iter__(self):
            for item in super().__iter__():
                taken.append(item)
                assert len(taken) - len(finished) <= 4 * 2 + 2
                yield item

    def work(item):
        time.sleep(0.001)
        finished.append(item)

    run_each(work, Items(range(60)), workers=2)
    assert len(finished) == 60


@pytest.mark.parametrize("workers", [1, 3])
def test_progress_counts_to_the_total_in_the_callers_thread(workers):
    seen = []
    threads = set()

    def progress(done, total):
        seen.append((done, total))
        threads.add(threading.get_ident())

    run_each(negative, range(7), workers=workers, progress=progress)
    assert seen == [(i, 7) for i in range(1, 8)]
    assert threads == {threading.get_ident()}


def test_an_exception_ends_an_inline_run():
    begun = []

    def work(item):
        begun.append(item)
        if item == 3:
            raise KeyError(item)

    with pytest.raises(KeyError):
        run_each(work, range(1000), workers=1)
    assert begun == [0, 1, 2, 3]


def test_an_exception_is_raised_at_once_and_what_waits_is_not_begun():
    release = threading.Event()
    begun = []

    def work(item):
        begun.append(item)
        if item == 0:
            raise KeyError(item)
        release.wait(10)

    with pytest.raises(KeyError):
        run_each(work, range(1000), workers=2)
    assert not release.is_set()
    release.set()
    time.sleep(0.1)
    assert len(begun) <= 3  # one failed, two were under way


def test_a_dead_process_is_one_sentence():
    with pytest.raises(InputError, match="a worker process died"):
        run_each(die, [1, 2, 3], workers=2, processes=True)

"""Tasks of several callers share a few threads; the first error is the caller's, and what was not begun is left."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pairmill.transforms.score.tasks import Tasks


def test_tasks_may_give_more_tasks() -> None:
    done: list[int] = []
    tasks = Tasks(2)

    def work(depth: int) -> None:
        if depth:
            tasks.submit(lambda: work(depth - 1))
            tasks.submit(lambda: work(depth - 1))
        done.append(depth)

    tasks.submit(lambda: work(4))
    tasks.wait()
    assert len(done) == 31


def test_the_first_error_is_raised_and_the_rest_is_left() -> None:
    tasks, other = Tasks(1), Tasks(1)
    done: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError

    tasks.submit(fail)
    for _ in range(50):
        tasks.submit(lambda: done.append("tasks"))
    other.submit(lambda: done.append("other"))
    with pytest.raises(ZeroDivisionError):
        tasks.wait()
    other.wait()
    assert done == ["other"]


def test_after_an_interrupt_nothing_more_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(1)
    go, begun = threading.Event(), threading.Event()
    done: list[int] = []

    def first() -> None:
        begun.set()
        go.wait(60)

    def interrupted(_: Callable[[], bool]) -> None:
        begun.wait(60)
        raise KeyboardInterrupt

    tasks.submit(first)
    for number in range(20):
        tasks.submit(lambda number=number: done.append(number))  # type: ignore[misc]
    with monkeypatch.context() as patch:
        patch.setattr(tasks._changed, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tasks.wait()
    go.set()
    with pytest.raises(KeyboardInterrupt):
        tasks.wait()
    assert not done

"""Which URL is next, and the budget of bytes."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.fetch.budget import ByteBudget
from pairmill.transforms.fetch.frontier import Frontier, UrlTask
from pairmill.transforms.fetch.host_limits import HostLimits
from pairmill.transforms.fetch.outcome import Want


def task(row: int, host: str = "a") -> UrlTask:
    return UrlTask(None, Want(row), host)


def test_order_shares_and_delays():
    frontier = Frontier(HostLimits(2))
    tasks = [task(0), task(1), task(2), task(3, "b"), task(4)]
    frontier.add(tasks)
    assert [frontier.take(0.0) for _ in range(4)] == [tasks[0], tasks[1], tasks[3], None]
    assert frontier.more_from("a")
    assert not frontier.more_from("b")
    frontier.finish("a")
    frontier.delay(tasks[0], until=5.0)
    assert frontier.next_due == 5.0
    assert frontier.take(4.9) is tasks[2]
    frontier.finish("a")
    assert frontier.take(5.0) is tasks[0]  # a retry that is due goes first: its deadline runs
    assert frontier.take(5.0) is None
    frontier.finish("a")
    assert frontier.take(5.0) is tasks[4]
    assert not frontier.more_from("a")


@given(
    hosts=st.lists(st.sampled_from("abc"), max_size=30),
    per_host=st.integers(1, 3),
    choices=st.randoms(use_true_random=False),
)
def test_every_task_is_taken_once_and_no_host_gets_more_than_its_share(hosts, per_host, choices):
    frontier = Frontier(HostLimits(per_host))
    waiting = [task(row, host) for row, host in enumerate(hosts)]
    in_flight: list[UrlTask] = []
    taken: list[int] = []
    now = 0.0
    while waiting or in_flight or len(taken) < len(hosts):
        now += 1
        if waiting and choices.random() < 0.5:
            frontier.add([waiting.pop(0)])
        elif in_flight and choices.random() < 0.5:
            done = in_flight.pop(choices.randrange(len(in_flight)))
            frontier.finish(done.host)
            if done.attempts == 0 and choices.random() < 0.3:
                done.attempts = 1
                taken.remove(done.want.row)
                frontier.delay(done, now + choices.random() * 5)
        else:
            got = frontier.take(now)
            if got is not None:
                in_flight.append(got)
                taken.append(got.want.row)
        assert all(count <= per_host for count in Counter(t.host for t in in_flight).values())
    assert sorted(taken) == list(range(len(hosts)))
    assert frontier.take(now + 100) is None
    assert not any(frontier.more_from(host) for host in "abc")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=20))
def test_the_budget_is_never_overdrawn_and_serves_everybody(asks):
    async def run() -> None:
        budget = ByteBudget(10)
        held = 0

        async def use(amount: int) -> None:
            nonlocal held
            await budget.reserve(amount)
            held += amount
            try:
                assert held + budget.free <= 10
                await asyncio.sleep(0)
            finally:
                held -= amount
                budget.release(amount)

        users = [asyncio.ensure_future(use(amount)) for amount, _ in asks]
        await asyncio.sleep(0)
        for user, (_, leaves) in zip(users, asks, strict=True):
            if leaves:
                user.cancel()
        await asyncio.gather(*users, return_exceptions=True)
        for user, (_, leaves) in zip(users, asks, strict=True):
            assert leaves or user.result() is None
        assert budget.free == 10

    asyncio.run(asyncio.wait_for(run(), 5))


def test_a_cancelled_wait_gives_way_to_those_behind_it():
    async def run() -> None:
        budget = ByteBudget(10)
        await budget.reserve(6)
        large = asyncio.ensure_future(budget.reserve(10))
        small = asyncio.ensure_future(budget.reserve(4))
        await asyncio.sleep(0)
        assert not small.done()  # first come, first served
        large.cancel()
        await asyncio.sleep(0)
        await small
        assert budget.free == 0
        # Served and cancelled in the same moment: the share comes back.
        late = asyncio.ensure_future(budget.reserve(4))
        await asyncio.sleep(0)
        budget.release(4)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert budget.free == 4
        with pytest.raises(ValueError, match="budget"):
            await budget.reserve(11)

    asyncio.run(run())

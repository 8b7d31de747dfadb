"""The scheduler: every want one outcome, every block closed once, whatever the network, the images or the sink do."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.fetch.lane import fetch_blocks
from pairmill.transforms.fetch.network import AsyncNetwork
from pairmill.transforms.fetch.outcome import (
    BlockJob,
    ClosedBlock,
    FetchAborted,
    FetchedBytes,
    FetchOutcome,
    StoreRefused,
    Want,
)
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.fetch.status import FetchStatus

BODY = b"\xff\xd8 a body"


class Sink:
    """Keeps what it gets, and in which thread; breaks where told."""

    def __init__(self, job: BlockJob, breaks: Callable[[str, int], None] | None = None) -> None:
        self.job = job
        self.rows: list[int] = []
        self.outcomes: dict[int, FetchOutcome] = {}
        self.closed = self.aborted = 0
        self.threads: set[int] = set()
        self._breaks = breaks or (lambda what, row: None)

    def add(self, row: int, outcome: FetchOutcome) -> None:
        assert not self.closed
        assert not self.aborted
        self._breaks("add", row)
        self.threads.add(threading.get_ident())
        self.rows.append(row)
        self.outcomes[row] = outcome

    def close(self) -> int:
        self._breaks("close", -1)
        self.closed += 1
        return len(self.rows)

    def abort(self) -> None:
        self.aborted += 1


class FakeWeb:
    """A fetch without a network: every URL has a delay and a line of statuses, one an attempt."""

    def __init__(self, plan: dict[str, tuple[float, list[FetchStatus]]]) -> None:
        self.plan = plan
        self.asked: Counter[str] = Counter()
        self.now = self.most = 0
        self.closed = False
        self.held: set[str] = set()

    @asynccontextmanager
    async def open(self, settings: FetchSettings, budget: Any) -> AsyncIterator[Any]:
        try:
            yield self.fetch
        finally:
            self.closed = True

    async def fetch(self, url: str, deadline: float, more: bool) -> FetchedBytes:
        delay, statuses = self.plan[url]
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self.asked[url] += 1
            await asyncio.sleep(delay)
            status = statuses[min(self.asked[url], len(statuses)) - 1]
            return FetchedBytes(status, body=BODY if status == "ok" else None)
        finally:
            self.now -= 1

    def network(self, chosen: FetchSettings) -> Any:
        return lambda deliver, fail: AsyncNetwork(chosen, deliver, fail, self.open)


def run(
    jobs: Iterable[BlockJob], web: FakeWeb, chosen: FetchSettings, store: Any = bytes, breaks: Any = None, **more: Any
) -> tuple[list[ClosedBlock[int]], list[Sink]]:
    sinks: list[Sink] = []

    def open_sink(job: BlockJob) -> Sink:
        sinks.append(Sink(job, breaks))
        return sinks[-1]

    closed: list[ClosedBlock[int]] = []
    run.sinks = sinks  # type: ignore[attr-defined]
    for block in fetch_blocks(jobs, chosen, store, open_sink, open_network=web.network(chosen), **more):
        closed.append(block)
    return closed, sinks


STATUSES = st.sampled_from([FetchStatus.OK, FetchStatus.NOT_FOUND, FetchStatus.SERVER_ERROR, FetchStatus.TIMEOUT])
PAGES = st.tuples(st.sampled_from([0.0, 0.0, 0.001, 0.003]), st.lists(STATUSES, min_size=1, max_size=3))


def lane_threads() -> set[threading.Thread]:
    """Threads that a lane starts and must have joined; other parts of pairmill have threads of their own."""
    lanes = ("pairmill-decode", "pairmill-network")
    return {thread for thread in threading.enumerate() if thread.name.startswith(lanes)}


@settings(max_examples=60, deadline=None)
@given(
    blocks=st.lists(st.lists(PAGES, max_size=8), max_size=6),
    hosts=st.integers(1, 3),
    concurrency=st.integers(1, 5),
    per_host=st.integers(1, 3),
    open_blocks=st.integers(1, 3),
    prefetch=st.integers(1, 3),
    decode_threads=st.integers(1, 2),
    retries=st.integers(0, 2),
)
def test_every_want_has_one_outcome_and_every_block_closes_once(blocks, hosts, retries, **limits):
    plan: dict[str, tuple[float, list[FetchStatus]]] = {}
    jobs = []
    for number, pages in enumerate(blocks):
        wants = []
        for row, page in enumerate(pages):
            url = f"http://host{row % hosts}/{number}/{row}"
            plan[url] = page
            wants.append(Want(row, url))
        jobs.append(BlockJob(number, 7, wants))
    chosen = FetchSettings(retries=retries, backoff_s=0.001, **limits)
    web = FakeWeb(plan)
    before = lane_threads()
    closed, sinks = run(jobs, web, chosen)

    assert sorted((block.block, block.part) for block in closed) == [(job.block, 7) for job in jobs]
    assert [sink.job.block for sink in sinks] == [job.block for job in jobs]
    for sink in sinks:
        assert sorted(sink.rows) == [want.row for want in sink.job.wants]
        assert (sink.closed, sink.aborted) == (1, 0)
        assert sink.threads <= {threading.get_ident()}
        for want in sink.job.wants:
            outcome = sink.outcomes[want.row]
            assert outcome.want is want
            expected, attempts = expect(plan[want.url][1], retries)
            assert (outcome.status, outcome.attempts) == (expected, attempts)
            assert web.asked[want.url] == attempts
            assert outcome.stored == (BODY if expected == "ok" else None)
    for block in closed:
        assert sum(block.counts.values()) == block.result == len(jobs[block.block].wants)
    assert web.most <= min(limits["concurrency"], limits["per_host"] * hosts)
    assert not lane_threads() - before


def expect(statuses: list[FetchStatus], retries: int) -> tuple[FetchStatus, int]:
    for attempt in range(retries + 1):
        status = statuses[min(attempt, len(statuses) - 1)]
        if not status.transient:
            return status, attempt + 1
    return status, retries + 1


def ok(count: int, delay: float = 0.0, block: int = 0) -> tuple[BlockJob, dict[str, tuple[float, list[FetchStatus]]]]:
    urls = [f"http://host{block}.test/{row}" for row in range(count)]
    job = BlockJob(block, 0, [Want(row, url) for row, url in enumerate(urls)])
    return job, {url: (delay, [FetchStatus.OK]) for url in urls}


def test_one_slow_url_holds_up_its_own_block_alone():
    jobs, plan = [], {}
    for block in range(6):
        job, pages = ok(5, block=block)
        jobs.append(job)
        plan.update(pages)
    plan["http://host0.test/3"] = (0.4, [FetchStatus.OK])
    closed, _ = run(jobs, FakeWeb(plan), FetchSettings(open_blocks=2))
    assert [block.block for block in closed] == [1, 2, 3, 4, 5, 0]


def test_jobs_are_taken_only_as_blocks_close():
    taken: list[int] = []
    closed_when_taken: list[int] = []
    closed: list[int] = []
    plan: dict[str, Any] = {}

    def jobs() -> Iterable[BlockJob]:
        for block in range(8):
            job, pages = ok(3, block=block)
            plan.update(pages)
            taken.append(block)
            closed_when_taken.append(len(closed))
            yield job

    chosen = FetchSettings(open_blocks=3)
    web = FakeWeb(plan)
    for done in fetch_blocks(jobs(), chosen, bytes, Sink, open_network=web.network(chosen)):
        closed.append(done.block)
    assert taken == list(range(8))
    assert all(number - done < 3 for number, done in enumerate(closed_when_taken))


def test_a_slow_host_with_many_urls_keeps_no_place_from_others():
    slow, plan = ok(30, delay=0.02, block=0)
    quick, pages = ok(30, block=1)
    plan.update(pages)
    closed, _ = run([slow, quick], FakeWeb(plan), FetchSettings(concurrency=4, per_host=2))
    assert [block.block for block in closed] == [1, 0]


def test_what_store_raises_concerns_one_image():
    job, plan = ok(6)

    def store(body: bytes) -> bytes:
        row = next(rows)
        if row == 1:
            raise RuntimeError("corrupt")
        if row == 2:
            raise StoreRefused("too_many_pixels", "9e9 pixels")
        if row == 3:
            raise StoreRefused(FetchStatus.ANIMATED)
        return body

    rows = iter(range(6))
    [closed], [sink] = run([job], FakeWeb(plan), FetchSettings(concurrency=1), store=store)
    outcomes = [sink.outcomes[row] for row in range(6)]
    assert [o.status for o in outcomes] == ["ok", "undecodable", "too_many_pixels", "animated", "ok", "ok"]
    assert outcomes[1].detail == "RuntimeError: corrupt"
    assert outcomes[1].stored is None
    assert outcomes[1].fetched_bytes == len(BODY)
    assert closed.counts == {"ok": 3, "undecodable": 1, "too_many_pixels": 1, "animated": 1}
    with pytest.raises(ValueError, match="known: ok, not_found"):
        StoreRefused("nonsense")


@pytest.mark.parametrize("where", ["add", "close", "open"])
def test_a_full_disk_ends_the_lane_cleanly(where):
    jobs, plan = [], {}
    for block in range(4):
        job, pages = ok(40, delay=0.001, block=block)
        jobs.append(job)
        plan.update(pages)
    # Another block never ends by itself: it has to be cancelled.
    plan["http://host0.test/0"] = (3600.0, [FetchStatus.OK])

    def breaks(what: str, row: int) -> None:
        if what == where and row in {-1, 20}:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_sink(job: BlockJob) -> Sink:
        if where == "open" and job.block == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sinks.append(Sink(job, breaks))
        return sinks[-1]

    sinks: list[Sink] = []
    chosen = FetchSettings(open_blocks=3)
    web = FakeWeb(plan)
    with pytest.raises(FetchAborted, match=r"^block 0000\w+ cannot be written: No space left on device$") as raised:
        list(fetch_blocks(jobs, chosen, bytes, open_sink, open_network=web.network(chosen)))
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert all(sink.closed + sink.aborted == 1 for sink in sinks)
    assert sinks[0].aborted == 1
    assert (web.now, web.closed or where == "open") == (0, True)
    assert not lane_threads()


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_image_ends_the_lane(error):
    job, plan = ok(5)

    def store(body: bytes) -> bytes:
        raise error

    with pytest.raises(FetchAborted):
        run([job], FakeWeb(plan), FetchSettings(), store=store)


def test_the_machine_running_out_of_handles_is_told_as_such():
    class NoHandles(FakeWeb):
        async def fetch(self, url: str, deadline: float, more: bool) -> FetchedBytes:
            raise FetchAborted("cannot open connections any more")

    job, plan = ok(5)
    with pytest.raises(FetchAborted, match=r"^cannot open connections any more$"):
        run([job], NoHandles(plan), FetchSettings())


def test_an_error_of_the_client_itself_concerns_one_url():
    class Broken(FakeWeb):
        async def fetch(self, url: str, deadline: float, more: bool) -> FetchedBytes:
            if url.endswith("/2"):
                raise KeyError("unforeseen")
            return await super().fetch(url, deadline, more)

    job, plan = ok(5)
    [closed], _ = run([job], Broken(plan), FetchSettings())
    assert closed.counts == {"ok": 4, "bad_response": 1}


def test_a_network_that_cannot_start_is_told():
    @asynccontextmanager
    async def broken(settings: FetchSettings, budget: Any) -> AsyncIterator[Any]:
        raise RuntimeError("no name service")
        yield

    def network(deliver: Any, fail: Any) -> AsyncNetwork:
        return AsyncNetwork(FetchSettings(), deliver, fail, broken)

    job, _ = ok(5)
    with pytest.raises(FetchAborted, match="no name service"):
        list(fetch_blocks([job], FetchSettings(), bytes, Sink, open_network=network))


def test_an_iterable_of_jobs_that_raises_ends_the_lane_with_its_own_error():
    job, plan = ok(5, delay=3600)

    def jobs() -> Iterable[BlockJob]:
        yield job
        raise LookupError("the pool is gone")

    with pytest.raises(LookupError, match="the pool is gone"):
        run(jobs(), FakeWeb(plan), FetchSettings())
    [sink] = run.sinks  # type: ignore[attr-defined]
    assert (sink.closed, sink.aborted) == (0, 1)


def test_a_caller_who_stops_leaves_nothing_behind():
    first, plan = ok(2, block=0)
    second, pages = ok(2, delay=3600, block=1)
    plan.update(pages)
    sinks: list[Sink] = []

    def open_sink(job: BlockJob) -> Sink:
        sinks.append(Sink(job))
        return sinks[-1]

    chosen = FetchSettings()
    lane = fetch_blocks([first, second], chosen, bytes, open_sink, open_network=FakeWeb(plan).network(chosen))
    assert next(lane).block == 0
    lane.close()
    assert [(sink.closed, sink.aborted) for sink in sinks] == [(1, 0), (0, 1)]
    assert not lane_threads()


def test_bodies_that_wait_are_bounded():
    job, plan = ok(60)
    chosen = FetchSettings(concurrency=4, prefetch=3)
    web = FakeWeb(plan)
    held: list[int] = []
    stored = 0

    def store(body: bytes) -> bytes:
        nonlocal stored
        stored += 1
        threading.Event().wait(0.002)
        held.append(sum(web.asked.values()) - stored)
        return body

    run([job], web, chosen, store=store)
    assert max(held) <= chosen.concurrency + chosen.prefetch


def test_another_engine_is_not_silently_ours():
    with pytest.raises(ValueError, match="fetch_blocks_by_img2dataset"):
        next(fetch_blocks([], FetchSettings(engine="img2dataset"), bytes, Sink))


def test_progress_adds_up_and_is_told_from_the_callers_thread():
    job, plan = ok(50)
    told: list[tuple[int, int]] = []
    run([job], FakeWeb(plan), FetchSettings(), progress=lambda count: told.append((count, threading.get_ident())))
    assert sum(count for count, _ in told) == 50
    assert {thread for _, thread in told} == {threading.get_ident()}


def test_it_runs_in_any_thread():
    job, plan = ok(5)
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(run([job], FakeWeb(plan), FetchSettings())[0][0].result))
    thread.start()
    thread.join()
    assert results == [5]


def test_files_and_urls_side_by_side(tmp_path):
    (tmp_path / "a.jpg").write_bytes(BODY)
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "shard.tar").write_bytes(b"x" * 512 + BODY + b"y" * 100)
    plan = {"http://a.test/": (0.0, [FetchStatus.OK])}
    wants = [
        Want(0, path="a.jpg"),
        Want(1, url="http://where.it/came.from", path="shard.tar", tar_offset=512, tar_bytes=len(BODY)),
        Want(2, url="http://a.test/"),
        Want(3, path="none.jpg"),
        Want(4, path="page.jpg"),
    ]
    web = FakeWeb(plan)
    _, [sink] = run([BlockJob(0, 0, wants)], web, FetchSettings(), root=tmp_path)
    assert [sink.outcomes[row].status for row in range(5)] == ["ok", "ok", "ok", "missing_file", "not_an_image"]
    assert [sink.outcomes[row].stored for row in range(3)] == [BODY] * 3
    assert sink.outcomes[0].attempts == 0
    assert web.asked == {"http://a.test/": 1}


def test_many_files_without_any_network(tmp_path):
    (tmp_path / "a.jpg").write_bytes(BODY)
    jobs = [BlockJob(block, 0, [Want(row, path="a.jpg") for row in range(300)]) for block in range(3)]
    closed = list(fetch_blocks(jobs, FetchSettings(decode_threads=2), bytes, Sink, root=tmp_path))
    assert [block.counts for block in closed] == [{"ok": 300}] * 3
    with pytest.raises(FetchAborted, match="no folder"):
        list(fetch_blocks(jobs, FetchSettings(), bytes, Sink))

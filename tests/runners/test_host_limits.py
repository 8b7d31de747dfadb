"""No host is asked more at a time than ``fetch.per_host``, however many workers fetch; the dataset stays the same."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from pairmill.runners.cli import main

from .conftest import files_of

BLOCKS, BLOCK_ROWS = 12, 5


@dataclass
class Hosts:
    """A few hosts (ports) that note how many requests each has at a time."""

    ports: list[int] = field(default_factory=list)
    now: Counter[int] = field(default_factory=Counter)
    most: Counter[int] = field(default_factory=Counter)
    asked: int = 0


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    hosts, loop, started = Hosts(), asyncio.new_event_loop(), threading.Event()
    pictures = {}
    for number in range(BLOCKS * BLOCK_ROWS):
        file = io.BytesIO()
        patches = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(patches).resize((96, 80)).save(file, "JPEG")
        pictures[str(number)] = file.getvalue()

    async def answer(request: web.Request) -> web.Response:
        port = request.url.port or 0
        hosts.asked += 1
        hosts.now[port] += 1
        hosts.most[port] = max(hosts.most[port], hosts.now[port])
        await asyncio.sleep(0.05)
        hosts.now[port] -= 1
        return web.Response(body=pictures[request.match_info["number"]], content_type="image/jpeg")

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/{number}.jpg", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        for _ in range(3):
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            hosts.ports.append(runner.addresses[-1][1])
        started.set()
        while not stopped.is_set():
            await asyncio.sleep(0.05)
        await runner.cleanup()

    stopped = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    yield hosts
    stopped.set()
    thread.join()


@pytest.fixture(scope="module")
def recipe(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One host in every block, one in the first third of the pool, one in its last twelfth."""
    folder = tmp_path_factory.mktemp("pool")
    lines = ["url,caption"]
    for number in range(BLOCKS * BLOCK_ROWS):
        block = number // BLOCK_ROWS
        host = 1 if block < BLOCKS // 3 and number % 2 else 2 if block == BLOCKS - 1 else 0
        lines.append(f"http://127.0.0.1:{hosts.ports[host]}/{number}.jpg,picture number {number}")
    (folder / "pool.csv").write_text("\n".join(lines))
    told = {
        "name": "hosts",
        "pool": {"path": str(folder / "pool.csv"), "block_rows": BLOCK_ROWS},
        "fetch": {"allow_hosts": ["127.0.0.1"]},
        "language": "off",
        "rules": [{"image_size": {"min_side": 32}}],
        "shards": {"samples_per_shard": 20},
    }
    (folder / "recipe.yaml").write_text(json.dumps(told))
    return folder / "recipe.yaml"


def run(recipe: Path, out: Path, workers: int, per_host: int) -> dict[str, str]:
    command = ["run", str(recipe), "--out", str(out), "--workers", str(workers), "--quiet", "--no-space-check"]
    assert main([*command, "--set", f"fetch.per_host={per_host}"]) == 0
    assert json.loads((out / "report.json").read_text())["kept"] == BLOCKS * BLOCK_ROWS
    return files_of(out / "dataset")


@pytest.fixture(scope="module")
def by_one(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run(recipe, tmp_path_factory.mktemp("one") / "build", workers=1, per_host=16)


@pytest.mark.parametrize(
    ("workers", "per_host"),
    [(2, 5), (3, 2), (4, 1)],  # a share for each; few lanes' hosts shared out, the crowded one behind; one at a time
)
def test_the_limit_holds_for_all_workers_together(
    workers: int, per_host: int, hosts: Hosts, recipe: Path, by_one: dict[str, str], tmp_path: Path
) -> None:
    hosts.most.clear()
    hosts.asked = 0
    dataset = run(recipe, tmp_path / "build", workers, per_host)
    assert set(hosts.most) == set(hosts.ports)
    assert max(hosts.most.values()) <= per_host
    assert hosts.asked == BLOCKS * BLOCK_ROWS
    assert dataset == by_one

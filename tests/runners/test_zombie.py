"""An attempt that was thought dead and lives on: whoever publishes first counts, and nobody is harmed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from PIL import Image

from pairmill.sharding.step_store import StepStore
from pairmill.transforms.fetch.outcome import FetchOutcome, Want
from pairmill.transforms.fetch.status import FetchStatus
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import store_image
from pairmill.transforms.spool import SpoolSink

if TYPE_CHECKING:
    from conftest import Build, Mill, Served


def fetched_otherwise(row: int) -> FetchOutcome:
    """Another picture than the pool's: what a server may give the second time."""
    body = io.BytesIO()
    Image.effect_noise((300, 300), 80).convert("RGB").save(body, "JPEG")
    stored = store_image(body.getvalue(), ImageSettings())
    return FetchOutcome(Want(row, f"http://127.0.0.1/{row}"), FetchStatus.OK, stored=stored)


def fetch_store(work: Path) -> StepStore:
    (folder,) = work.glob("columns/fetch-*")
    return StepStore(str(work), "fetch", folder.name.removeprefix("fetch-"), "zombie")


def test_one_that_comes_too_late_leaves_no_trace(mill: Mill, finished: Build, copied: Build, served: Served) -> None:
    store = fetch_store(copied.work)
    columns = mill.files(copied.work / "columns", copied.work / "spool")
    for block in (0, 3):
        sink = SpoolSink(store, block, 0)
        for row in range(5):
            sink.add(row, fetched_otherwise(row))
        assert mill.files(copied.work / "spool") != columns[1:]
        sink.close()
    store.log.close()
    assert mill.files(copied.work / "columns", copied.work / "spool") == columns
    for begun in ("columns/pool-*/*", "columns/fetch-*/*", "log/fetch-*"):  # and was killed while it wrote these
        (next(iter(copied.work.glob(begun))) / "x.parquet.tmp-0123456789ab").write_bytes(b"PAR1")
    again = replace(copied, out=copied.out.with_name("again"))
    mill.run(again, "--quiet")
    assert not served.asked
    assert again.dataset() == finished.dataset()
    again.assert_nothing_left_over()


def test_one_that_comes_first_is_the_one_that_counts(mill: Mill, fresh: Build, served: Served) -> None:
    """Of two attempts in one run, both rows' images are of the same attempt: the one whose column file is there."""
    served.delay_s = 0.5
    process = mill.start(fresh, "--quiet")
    assert mill.until(lambda: len(list(fresh.work.glob("spool/fetch-*/*/*.tar"))) > 1, process)
    (folder,) = fresh.work.glob("spool/fetch-*")
    store = StepStore(str(fresh.work), "fetch", folder.name.removeprefix("fetch-"), "other")
    block = int(min(path.name for path in folder.glob("*/*.tar")).split(".")[0], 16)
    alive = served.rows().filter(pl.col("row").is_between(block * 20, block * 20 + 19))["expect"].to_list()
    sink = SpoolSink(store, block, 0)
    for row in range(20):
        sink.add(row, fetched_otherwise(row))
    sink.close()
    store.log.close()
    served.delay_s = 0.0
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, "")
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    kept = fresh.ledger().filter((pl.col("block") == block) & pl.col("kept"))
    images = pl.concat([pl.read_parquet(path) for path in (fresh.out / "dataset" / "metadata").glob("*.parquet")])
    noise = images.filter((pl.col("original_width") == 300) & (pl.col("original_height") == 300))
    assert kept.height > alive.count("kept") // 2
    assert noise.height >= kept.height

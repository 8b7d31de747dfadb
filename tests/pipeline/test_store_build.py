"""Builds in a store, each call of a step on a machine of its own: the bytes of a folder, whatever is killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline.build import run_build
from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.recipe import load_recipe
from pairmill.pipeline.select_build import run_selection
from pairmill.pipeline.select_files import UIDS
from pairmill.sharding import mirror
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.mirror import close_mirrors, open_place
from pairmill.sharding.object_store import ObjectStore
from pairmill.transforms.at_hand import at_hand
from pairmill.transforms.spool import SpoolSink


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("PAIRMILL_CACHE", str(tmp_path / "driver"))
    yield
    close_mirrors()


class Killed(BaseException):
    """As if the process were gone."""


@contextmanager
def new_machine(cache: Path) -> Iterator[None]:
    """Everything inside happens where nothing of the store has been seen."""
    mirrors, roots, told = dict(mirror._MIRRORS), list(mirror._ROOTS), os.environ["PAIRMILL_CACHE"]
    mirror._MIRRORS.clear()
    mirror._ROOTS.clear()
    os.environ["PAIRMILL_CACHE"] = str(cache)
    try:
        yield
    finally:
        close_mirrors()
        shutil.rmtree(cache, ignore_errors=True)
        mirror._MIRRORS.update(mirrors)
        mirror._ROOTS.extend(roots)
        os.environ["PAIRMILL_CACHE"] = told


class StoreBuilds:
    """Makes builds below a URL; ``steps`` are the pipeline's, in a plain loop."""

    def __init__(self, url: str, folder: Path, steps: Callable[..., None], choice: Callable[..., None]) -> None:
        self.url, self._folder, self._steps, self._choice = url, folder, steps, choice
        self._machines = 0

    def make(self, recipe: Path, name: str, lanes: int = 1, kill_at: int | None = None, **sets: Any) -> dict[str, Any]:
        """A build ``name`` over the work folder ``work``; ``kill_at`` is the call of a step that is not made."""
        build, work = open_place(f"{self.url}/{name}"), open_place(f"{self.url}/work")
        settings = tuple(f"{key}={value}" for key, value in sets.items())
        ready = prepare(load_recipe(recipe, settings=settings), build, work, lanes)
        calls = 0

        def elsewhere(job: Any) -> Callable[[Callable[[], Any]], Any]:
            def call(step: Callable[[], Any]) -> Any:
                nonlocal calls
                calls += 1
                if calls == kill_at:
                    raise Killed
                self._machines += 1
                with new_machine(self._folder / f"machine-{self._machines}"), at_hand(job, f"call {calls}"):
                    return step()

            return call

        return dict(run_build(ready, work, lambda done: self._steps(done, elsewhere(done.job))))

    def copy(self, name: str) -> Path:
        """What lies below a name, as a folder."""
        store = ObjectStore(f"{self.url}/{name}")
        folder = self._folder / f"copy-{name}-{self._machines}"
        folder.mkdir()
        store.get_all(list(store.sizes()), folder)
        return folder


@pytest.fixture
def in_memory(tmp_path: Path, steps: Any, builds: Any) -> StoreBuilds:
    return StoreBuilds(f"memory://bucket/{tmp_path.name}", tmp_path, steps, builds.choice)


@pytest.fixture
def on_s3(tmp_path: Path, s3: Any, steps: Any, builds: Any) -> StoreBuilds:
    return StoreBuilds(s3.new_url(), tmp_path, steps, builds.choice)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


PLANTED: dict[str, dict[str, Any]] = {
    "plain": {"splits": {"val": "20 %"}},
    "global": {"shards": {"order": "global", "samples_per_shard": 8, "random_read_bytes": 1}},
    "formats": {"shards": {"count": 2, "format": "both", "groups": {"by": "lang", "min_samples": 3}}},
    "datacomp": {"shards": {"count": 2, "layout": "datacomp"}},
    "captions": {
        "duplicates": {"caption": "reject", "caption_minhash": "reject", "merge_captions": True, "near": "reject"},
        "all_reasons": True,
    },
    "mixture": {
        "select": [{"column": "original_width", "fraction": 0.9, "of": "alive"}],
        "mixture": {"samples": 40, "max_copies": 3, "concepts": {"file": "concepts.json", "cap": 9}},
    },
    "counts": {"rules": [{"column_range": {"column": "images_of_caption", "at_most": 10}}], "all_reasons": True},
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_build_in_a_store_has_the_bytes_of_one_in_a_folder(
    name: str, small_pool: Any, builds: Any, in_memory: StoreBuilds, tmp_path: Path
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml", **PLANTED[name])
    (tmp_path / "concepts.json").write_text('["picture", "number"]')
    here = builds.make(recipe, tmp_path / "here", tmp_path / "here-work", lanes=2)
    there = in_memory.make(recipe, "build", lanes=3)
    copy = in_memory.copy("build")
    assert files(copy / "dataset") == files(tmp_path / "here" / "dataset")
    assert files(copy / "ledger") == files(tmp_path / "here" / "ledger")
    assert files(copy / "kept") == files(tmp_path / "here" / "kept")
    assert {**there, "seconds": 0, "steps": 0} == {**here, "seconds": 0, "steps": 0}
    assert not list(copy.glob("parts*"))
    assert not list(copy.glob("pairmill.lease*"))
    assert in_memory.make(recipe, "build", lanes=3) == there  # a finished one is only reported


def test_on_s3_a_second_build_fetches_nothing_and_a_changed_recipe_is_refused(
    small_pool: Any, builds: Any, on_s3: StoreBuilds, tmp_path: Path
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    builds.make(recipe, tmp_path / "here", tmp_path / "here-work", lanes=2)
    on_s3.make(recipe, "first", lanes=2)
    assert files(on_s3.copy("first") / "dataset") == files(tmp_path / "here" / "dataset")
    spool = ObjectStore(f"{on_s3.url}/work").sizes("spool")
    on_s3.make(recipe, "second", lanes=1)
    assert ObjectStore(f"{on_s3.url}/work").sizes("spool") == spool
    assert files(on_s3.copy("second") / "dataset") == files(tmp_path / "here" / "dataset")
    with pytest.raises(UsageError, match=rf"^{on_s3.url}/first is the build of another recipe"):
        on_s3.make(recipe, "first", seed=5)
    with pytest.raises(UsageError, match=rf"^{on_s3.url}/work was fetched with image.size"):
        on_s3.make(recipe, "third", **{"image.size": 64})
    told = json.dumps([data.decode(errors="replace") for data in _texts(f"{on_s3.url}/first")])
    assert "pairmill-secret" not in told


def _texts(url: str) -> list[bytes]:
    store = ObjectStore(url)
    return [store.bytes_of(name) or b"" for name in store.sizes() if name.endswith((".json", ".md", ".yaml"))]


def test_on_gcs_it_has_the_bytes_of_one_in_a_folder(
    small_pool: Any, builds: Any, gcs: Any, steps: Any, tmp_path: Path
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    builds.make(recipe, tmp_path / "here", tmp_path / "here-work", lanes=2)
    on_gcs = StoreBuilds(gcs.new_url(), tmp_path, steps, builds.choice)
    on_gcs.make(recipe, "build", lanes=2)
    assert files(on_gcs.copy("build") / "dataset") == files(tmp_path / "here" / "dataset")


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_call_it_ends_in_the_same_bytes_and_fetches_no_block_twice(
    seed: int, small_pool: Any, builds: Any, in_memory: StoreBuilds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    here = builds.make(recipe, tmp_path / "here", tmp_path / "here-work", lanes=2)
    closed: list[int] = []
    close = SpoolSink.close
    monkeypatch.setattr(SpoolSink, "close", lambda sink: (close(sink), closed.append(sink._block))[0])
    draw = random.Random(seed)
    for _ in range(6):
        with pytest.raises(Killed):
            in_memory.make(recipe, "build", lanes=3, kill_at=draw.randint(1, 22))
        close_mirrors()
    report = in_memory.make(recipe, "build", lanes=2)
    assert report["fetch"] == here["fetch"]
    assert files(in_memory.copy("build") / "dataset") == files(tmp_path / "here" / "dataset")
    assert len(closed) == len(set(closed))
    work = in_memory.copy("work")
    named = {
        spool
        for file in (work / "columns").rglob("*.parquet")
        if "fetch" in str(file)
        for spool in pl.read_parquet(file)["spool"].drop_nulls()
    }
    assert {f"{path.parent.name}/{path.name}" for path in (work / "spool").rglob("*.tar")} == named


def test_a_zombie_that_publishes_later_loses_and_takes_its_tar_along(
    small_pool: Any, in_memory: StoreBuilds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    close = SpoolSink.close

    def close_late(sink: SpoolSink) -> None:
        """Another attempt at the block, on another machine, is faster."""
        monkeypatch.setattr(SpoolSink, "close", close)
        other = SpoolSink(sink._store, sink._block, sink._part)
        other._rows = [{**row, "spool": row.get("spool") and other._name} for row in sink._rows]
        other._tar.add("0000", b"other bytes")
        other.close()
        close(sink)

    monkeypatch.setattr(SpoolSink, "close", close_late)
    with pytest.raises(PairmillError):  # the other attempt's tar holds no pictures
        in_memory.make(recipe, "build")
    tars = list(ObjectStore(f"{in_memory.url}/work").sizes("spool"))
    blocks = [tar.rsplit("/", 1)[1].split(".")[0] for tar in tars]
    assert len(blocks) == len(set(blocks))


def test_a_folder_in_use_is_refused_and_names_the_other_run(
    small_pool: Any, in_memory: StoreBuilds, tmp_path: Path
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    told = {"pid": 4711, "host": "far-away", "boot": "another", "started": "1", "token": "far", "beats": 2}
    store = ObjectStore(f"{in_memory.url}/work")
    store.put_bytes("pairmill.lease-000001.json", json.dumps(told).encode())
    with pytest.raises(PairmillError, match=rf"the work folder {in_memory.url}/work is in use by process 4711 on far"):
        in_memory.make(recipe, "build")
    store.remove(["pairmill.lease-000001.json"])
    assert in_memory.make(recipe, "build")["kept"] > 0


def test_a_selection_in_a_store_is_that_of_a_folder(builds: Any, in_memory: StoreBuilds, tmp_path: Path) -> None:
    pool = tmp_path / "pool.parquet"
    pl.DataFrame(
        {
            "url": [f"http://x.invalid/{n % 37}.jpg" for n in range(200)],
            "caption": [f"row {n}" for n in range(200)],
            "score": [float(n % 17) for n in range(200)],
        }
    ).write_parquet(pool, row_group_size=30)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        json.dumps(
            {
                "name": "chosen",
                "pool": {"path": str(pool), "block_rows": 20},
                "select": [{"column": "score", "fraction": 0.5}],
            }
        )
    )
    here = builds.select(recipe, tmp_path / "here", tmp_path / "here-work")
    there = run_selection_in(in_memory, recipe)
    copy = in_memory.copy("build")
    assert files(copy / "ledger") == files(tmp_path / "here" / "ledger")
    assert (copy / UIDS).read_bytes() == (tmp_path / "here" / UIDS).read_bytes()
    assert there["kept"] == here["kept"] > 0


def run_selection_in(store: StoreBuilds, recipe: Path) -> dict[str, Any]:
    build, work = open_place(f"{store.url}/build"), open_place(f"{store.url}/work")
    ready = prepare(load_recipe(recipe), build, work, 2)

    def execute(choice: Any) -> None:
        calls = iter(range(10_000))

        def call(step: Callable[[], Any]) -> Any:
            number = next(calls)
            with new_machine(store._folder / f"span-{number}"), at_hand(choice.job, f"call {number}"):
                return step()

        store._choice(choice, call)

    return dict(run_selection(ready, work, execute))

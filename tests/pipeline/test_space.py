"""The space check: a run that cannot fit says so before it begins."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pairmill.pipeline import space
from pairmill.pipeline.space import check_select_space, check_space
from pairmill.sharding.errors import UsageError

Usage = namedtuple("Usage", "total used free")


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))


def test_too_small_a_disk_is_told_in_one_line(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = builds.prepare(small_pool.recipe(tmp_path / "r.yaml"), tmp_path / "a" / "b")
    with_free(monkeypatch, 10_000)
    with pytest.raises(UsageError, match=rf"{tmp_path}: up to 0\.0 GB are needed for 32 rows, 0\.0 GB") as raised:
        check_space(prepared, tmp_path / "a" / "b", tmp_path / "a" / "b" / "work")
    assert "\n" not in str(raised.value)
    assert "--no-space-check" in str(raised.value)
    assert not (tmp_path / "a").exists()
    with_free(monkeypatch, 1 << 40)
    check_space(prepared, tmp_path / "a" / "b", tmp_path / "a" / "b" / "work")


def test_a_run_that_only_selects_needs_little(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = builds.prepare(small_pool.recipe(tmp_path / "r.yaml"), tmp_path / "build")
    with_free(monkeypatch, 32 * space.SELECT_BYTES_PER_ROW)
    check_select_space(prepared, tmp_path / "build")
    with_free(monkeypatch, 32 * space.SELECT_BYTES_PER_ROW - 1)
    with pytest.raises(UsageError, match="are needed for 32 rows"):
        check_select_space(prepared, tmp_path / "build")


def test_one_disk_must_hold_spool_and_shards(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = builds.prepare(small_pool.recipe(tmp_path / "r.yaml"), tmp_path / "build")
    size = prepared.job.image.size
    once = 32 * int(size * size * 0.75 * space.BYTES_PER_PIXEL + space.BYTES_PER_ROW)
    with_free(monkeypatch, 2 * once)
    check_space(prepared, tmp_path / "build", tmp_path / "work")
    with_free(monkeypatch, 2 * once - 1)
    with pytest.raises(UsageError):
        check_space(prepared, tmp_path / "build", tmp_path / "work")


def test_the_global_order_needs_room_to_bring_images_together(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = 32 * int(512 * 512 * 0.75 * space.BYTES_PER_PIXEL + space.BYTES_PER_ROW)
    for random_read_bytes, times in ((once, 2), (once - 1, 3)):
        shards = {"order": "global", "random_read_bytes": random_read_bytes}
        prepared = builds.prepare(small_pool.recipe(tmp_path / "r.yaml", shards=shards), tmp_path / "build")
        with_free(monkeypatch, times * once)
        check_space(prepared, tmp_path / "build", tmp_path / "work")
        with_free(monkeypatch, times * once - 1)
        with pytest.raises(UsageError):
            check_space(prepared, tmp_path / "build", tmp_path / "work")


def test_a_mixture_may_need_more_or_less_room_for_shards(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = int(512 * 512 * 0.75 * space.BYTES_PER_PIXEL + space.BYTES_PER_ROW)
    for mixture, samples in (
        ({"samples": 8}, 8),
        ({"samples": 100_000, "max_copies": 3}, 96),
        ({"by": "width", "groups": {96: 2.5}}, 80),
        ({"weigh": [{"column": "width", "steps": {1: 1, 90: 3}}]}, 96),
    ):
        recipe = small_pool.recipe(tmp_path / "r.yaml", mixture=mixture)
        prepared = builds.prepare(recipe, tmp_path / "build")
        with_free(monkeypatch, (32 + samples) * one)
        check_space(prepared, tmp_path / "build", tmp_path / "work")
        with_free(monkeypatch, (32 + samples) * one - 1)
        with pytest.raises(UsageError):
            check_space(prepared, tmp_path / "build", tmp_path / "work")


def test_what_is_fetched_already_is_not_asked_for_again(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    builds.make(recipe, tmp_path / "one", tmp_path / "work")
    prepared = builds.prepare(recipe, tmp_path / "two", tmp_path / "work", seed="2")
    stored = sum(c.counts["stored_bytes"] for c in prepared.job.fetch_store.log.read())
    assert stored > 0
    size = prepared.job.image.size
    once = 32 * int(size * size * 0.75 * space.BYTES_PER_PIXEL + space.BYTES_PER_ROW)
    with_free(monkeypatch, 2 * once - stored)
    check_space(prepared, tmp_path / "two", tmp_path / "work")


def test_what_is_compared_of_captions_and_embeddings_takes_room_in_the_build_folder(
    small_pool: Any, builds: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    match = {"column": "caption", "probes": 3}  # a text column may hold lists of numbers
    recipe = small_pool.recipe(
        tmp_path / "r.yaml", duplicates={"semantic": "measure", "semantic_match": match, "caption_minhash": "measure"}
    )
    prepared = builds.prepare(recipe, tmp_path / "build")
    size = prepared.job.image.size
    once = 32 * int(size * size * 0.75 * space.BYTES_PER_PIXEL + space.BYTES_PER_ROW)
    row = 2 * space.MOST_DIMENSIONS + 4 * space.POOL_BYTES_PER_ROW + 25 * space.BAND_BYTES
    with_free(monkeypatch, 2 * once + 32 * row)
    check_space(prepared, tmp_path / "build", tmp_path / "work")
    with_free(monkeypatch, 2 * once + 32 * row - 1)
    with pytest.raises(UsageError):
        check_space(prepared, tmp_path / "build", tmp_path / "work")

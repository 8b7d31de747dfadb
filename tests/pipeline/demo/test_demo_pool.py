from __future__ import annotations

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps

from pairmill.pipeline.demo.evaluation import EVALUATION_FOLDER
from pairmill.pipeline.demo.faults import KEPT
from pairmill.pipeline.demo.grammar import read_facts
from pairmill.pipeline.demo.identify import is_english
from pairmill.pipeline.demo.pool import TRUTH_FILE, pool_port, truth_of_pool, write_demo_pool, write_file_pool
from pairmill.pipeline.demo.writing import write_table
from pairmill.transforms.image.likeness import phash, thumbnail

if TYPE_CHECKING:
    from conftest import DemoPool


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        if error.code != 429:
            raise
        return fetch(url)


def upright(body: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGB")


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_demo_pool(tmp_path / name, "http://127.0.0.1:1234", rows=100, seed=seed, evaluation=5)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert not set(one.values()) & set(three.values())


def test_kept_rows_are_english_and_others_only_where_planted(demo_pool: DemoPool) -> None:
    for planted, expect, caption in demo_pool.rows.select("planted", "expect", "caption").iter_rows():
        if expect == KEPT:
            assert is_english(caption), caption
            assert len(caption.split()) > 2
        elif planted in ("german", "french", "spanish"):
            assert not is_english(caption)
        assert (caption is None) == (planted == "null_caption")


def test_kept_pictures_have_their_size_and_none_are_near_duplicates(demo_pool: DemoPool) -> None:
    """As the pipeline has it: hashes within 2 bits and thumbnails within 8 levels; blank pictures are exempt."""
    kept = demo_pool.rows.filter((pl.col("expect") == KEPT) & (pl.col("planted") != "blank"))
    pictures = [upright(fetch(url)) for url in kept["url"]]
    assert [picture.size for picture in pictures] == kept.select("expect_width", "expect_height").rows()
    hashes = np.array([[int(bit) for bit in f"{phash(picture):064b}"] for picture in pictures])
    thumbnails = np.array([np.frombuffer(thumbnail(picture), np.uint8) for picture in pictures]).astype(int)
    bits = (hashes[:, None] != hashes[None]).sum(axis=-1)
    levels = np.abs(thumbnails[:, None] - thumbnails[None]).mean(axis=-1)
    aspects = np.array([picture.width / picture.height for picture in pictures])
    shapes = np.abs(aspects[:, None] / aspects[None] - 1)
    assert not np.triu((bits <= 2) & (levels <= 8) & (shapes < 0.03), 1).any()


def test_repeats_repeat(demo_pool: DemoPool) -> None:
    rows = demo_pool.rows
    for kind in ("repeated_row", "repeated_url", "same_bytes"):
        assert demo_pool.of_kind(kind).height > 0
        for row in demo_pool.of_kind(kind).iter_rows(named=True):
            assert fetch(rows["url"][row["expect_survivor"]]) == fetch(row["url"])


def test_servers_misbehave_as_planted(demo_pool: DemoPool) -> None:
    for kind, code in (("status_404", 404), ("status_403", 403), ("status_500", 500)):
        for url in demo_pool.of_kind(kind)["url"]:
            with pytest.raises(urllib.error.HTTPError) as error:
                fetch(url)
            assert error.value.code == code
    for url in demo_pool.of_kind("refused")["url"]:
        with pytest.raises((urllib.error.URLError, http.client.HTTPException)):
            fetch(url)
    assert all(fetch(url).startswith(b"<!DOCTYPE html>") for url in demo_pool.of_kind("html")["url"])
    for url in demo_pool.of_kind("robots_noai")["url"]:
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.headers["X-Robots-Tag"] == "noai"


def test_the_evaluation_set_is_written_and_some_of_it_leaks(demo_pool: DemoPool) -> None:
    folder = demo_pool.folder / EVALUATION_FOLDER
    pictures = {path.read_bytes() for path in folder.glob("*.jpg")}
    assert len(pictures) == 20
    assert all(read_facts(path.read_text(), "en") for path in folder.glob("*.txt"))
    leaked = [fetch(url) for url in demo_pool.of_kind("leaked")["url"]]
    assert len(leaked) == 2
    assert set(leaked) < pictures
    copies = [fetch(url) for url in demo_pool.of_kind("leaked_copy")["url"]]
    assert len(copies) == 1
    assert not set(copies) & pictures


def test_the_truth_and_the_port_can_be_read_back(demo_pool: DemoPool, tmp_path: Path) -> None:
    truth = truth_of_pool(demo_pool.path)
    assert truth.columns == ["row", "planted", "expect", "wanted"]
    assert truth.height == 200
    assert pool_port(demo_pool.folder) == int(demo_pool.base_url.rsplit(":", 1)[1])
    assert pool_port(tmp_path) == 0
    truth.drop("wanted").write_parquet(tmp_path / "plain.parquet")
    assert truth_of_pool(tmp_path / "plain.parquet")["wanted"].equals(truth["expect"].rename("wanted"))


def test_workers_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pairmill.pipeline.demo import writing
    from pairmill.pipeline.demo.pool_rows import Pool

    monkeypatch.setattr(writing, "PIECE_ROWS", 100)
    for workers in (1, 2):
        write_table(Pool(700, 0, "http://h"), tmp_path / f"{workers}.parquet", workers)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "1.parquet").height == 700


def test_a_pool_of_files_holds_what_its_truth_says(tmp_path: Path) -> None:
    pairs = write_file_pool(tmp_path, rows=100, seed=5, evaluation=4)
    truth = pl.read_parquet(tmp_path / TRUTH_FILE)
    assert sorted(str(p.relative_to(pairs)) for p in pairs.rglob("*") if p.is_file() and p.suffix != ".txt") == sorted(
        truth["path"]
    )
    for path, caption in truth.select("path", "caption").iter_rows():
        text = (pairs / path).with_suffix(".txt")
        assert (text.read_text(encoding="utf-8").rstrip("\n") if text.exists() else None) == caption
    for row in truth.filter(planted="same_bytes").iter_rows(named=True):
        assert (pairs / row["path"]).read_bytes() == (pairs / truth["path"][row["expect_survivor"]]).read_bytes()
    assert len(list((tmp_path / EVALUATION_FOLDER).iterdir())) == 8


def test_files_hold_the_bytes_that_a_server_draws(demo_pool: DemoPool, tmp_path: Path) -> None:
    pairs = write_file_pool(tmp_path, rows=200, seed=3, evaluation=20)
    files = {path.read_bytes() for path in pairs.rglob("*.*") if path.suffix != ".txt"}
    good = demo_pool.of_kind("")["url"]
    assert good.len() > 90
    assert all(fetch(url) in files for url in good)


def test_a_pool_is_not_written_over(tmp_path: Path) -> None:
    write_demo_pool(tmp_path, "http://127.0.0.1:1", rows=100, evaluation=1)
    with pytest.raises(FileExistsError, match="there is a pool at"):
        write_demo_pool(tmp_path, "http://127.0.0.1:1", rows=100)
    write_file_pool(tmp_path, rows=100, evaluation=1)
    with pytest.raises(FileExistsError):
        write_file_pool(tmp_path, rows=100)

from __future__ import annotations

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import imagehash
import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps

from pairmill.pipeline.demo.faults import EXPECTED, KEPT
from pairmill.pipeline.demo.identify import is_english
from pairmill.pipeline.demo.planting import POOL_SCHEMA
from pairmill.pipeline.demo.pool import SHARES, pool_port, truth_of_pool, write_demo_pool
from pairmill.pipeline.demo.server import serve_folder

if TYPE_CHECKING:
    from conftest import DemoPool


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body


def upright(body: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(body))).convert("RGB")


def test_the_pool_has_its_rows_and_every_kind(demo_pool: DemoPool) -> None:
    assert demo_pool.rows.height == 120
    assert dict(pl.read_parquet_schema(demo_pool.path)) == POOL_SCHEMA
    assert set(demo_pool.rows["planted"]) == {"", *SHARES}
    assert demo_pool.rows["expect"].to_list() == [EXPECTED[kind] for kind in demo_pool.rows["planted"]]
    assert demo_pool.of_kind("").height > 60


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        write_demo_pool(tmp_path / name, "http://127.0.0.1:1234", rows=80, seed=seed)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    # Blank pictures and those of one pixel may be equal by chance.
    assert len(set(one.values()) & set(three.values())) <= 2


def test_kept_rows_are_english_and_others_only_where_planted(demo_pool: DemoPool) -> None:
    for planted, expect, caption in demo_pool.rows.select("planted", "expect", "caption").iter_rows():
        if expect == KEPT:
            assert is_english(caption), caption
            assert len(caption.split()) > 2
        elif planted in ("german", "french"):
            assert not is_english(caption)
        elif planted == "one_word":
            assert is_english(caption)
            assert (len(caption.split()), len(caption) > 5) == (1, True)
        elif planted == "short":
            assert is_english(caption)
            assert (len(caption.split()), len(caption)) == (3, 5)
        assert (caption is None) == (planted == "null_caption")


def test_kept_pictures_decode_to_the_expected_size(demo_pool: DemoPool) -> None:
    kept = demo_pool.rows.filter(expect=KEPT)
    for url, width, height in kept.select("url", "expect_width", "expect_height").iter_rows():
        if "/odd/once/429/" in url:
            with pytest.raises(urllib.error.HTTPError, match="429"):
                fetch(url)
        body = fetch(url)
        assert upright(body).size == (width, height)
        assert min(width, height) >= 200


def test_no_kept_pictures_are_near_duplicates(demo_pool: DemoPool) -> None:
    """As the pipeline has it: hashes within 2 bits and thumbnails within 8 levels; blank pictures are exempt."""
    kept = demo_pool.rows.filter((pl.col("expect") == KEPT) & (pl.col("planted") != "blank"))
    pictures = [upright(fetch(url)) for url in kept["url"]]
    hashes = np.array([imagehash.phash(picture).hash.ravel() for picture in pictures])
    thumbnails = np.array([np.asarray(p.resize((8, 8), Image.Resampling.BOX), float).ravel() for p in pictures])
    bits = (hashes[:, None] != hashes[None]).sum(axis=-1)
    levels = np.abs(thumbnails[:, None] - thumbnails[None]).mean(axis=-1)
    assert not np.triu((bits <= 2) & (levels <= 10), 1).any()
    lookalike = np.flatnonzero(kept["planted"] == "recoloured")
    assert np.sort(bits[lookalike], axis=1)[:, 1].max() < 16  # they do resemble something by their hash


@pytest.mark.parametrize("kind", ["resized", "recompressed"])
def test_copies_are_near_their_survivor_and_worse(demo_pool: DemoPool, kind: str) -> None:
    copies = demo_pool.of_kind(kind)
    assert copies.height >= 3
    for url, survivor in copies.select("url", "expect_survivor").iter_rows():
        copy_body, body = fetch(url), fetch(demo_pool.rows["url"][survivor])
        copy, original = upright(copy_body), upright(body)
        assert demo_pool.rows["expect"][survivor] == KEPT
        assert (-copy.width * copy.height, -len(copy_body)) > (-original.width * original.height, -len(body))
        assert (copy.size == original.size) == (kind == "recompressed")
        assert imagehash.phash(copy) - imagehash.phash(original) <= 2


def test_repeats_repeat(demo_pool: DemoPool) -> None:
    rows = demo_pool.rows
    for kind in ("repeated_row", "repeated_url", "same_bytes"):
        for row in demo_pool.of_kind(kind).iter_rows(named=True):
            winner = rows.row(row["expect_survivor"], named=True)
            assert (winner["url"] == row["url"]) == (kind != "same_bytes")
            assert (winner["caption"] == row["caption"]) == (kind != "repeated_url")
            assert fetch(winner["url"]) == fetch(row["url"])


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


def test_bodies_are_as_planted(demo_pool: DemoPool) -> None:
    for url in demo_pool.of_kind("truncated")["url"]:
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(fetch(url))).load()
    assert all(upright(fetch(url)).size == (1, 1) for url in demo_pool.of_kind("one_pixel")["url"])
    assert all(min(upright(fetch(url)).size) < 200 for url in demo_pool.of_kind("tiny")["url"])
    for url in demo_pool.of_kind("strip")["url"]:
        width, height = upright(fetch(url)).size
        assert height >= 200
        assert width / height > 3
    for kind in ("png", "webp"):
        assert all(Image.open(io.BytesIO(fetch(url))).format == kind.upper() for url in demo_pool.of_kind(kind)["url"])
    assert all(
        Image.open(io.BytesIO(fetch(url))).getexif()[0x0112] in range(2, 9) for url in demo_pool.of_kind("exif")["url"]
    )


def test_bad_captions_also_share_the_url_of_good_rows(demo_pool: DemoPool) -> None:
    bad = demo_pool.rows.filter(pl.col("planted").is_in(["german", "french", "one_word", "null_caption"]))
    good = set(demo_pool.of_kind("")["url"])
    assert 0 < sum(url in good for url in bad["url"]) < bad.height


def test_the_truth_and_the_port_can_be_read_back(demo_pool: DemoPool, tmp_path: Path) -> None:
    truth = truth_of_pool(demo_pool.path)
    assert truth.columns == ["row", "planted", "expect"]
    assert truth.height == 120
    assert pool_port(demo_pool.folder) == int(demo_pool.base_url.rsplit(":", 1)[1])
    assert pool_port(tmp_path) == 0


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give 80 or more"):
        write_demo_pool(tmp_path, "http://127.0.0.1:1", rows=79)
    with serve_folder(tmp_path) as base_url:
        write_demo_pool(tmp_path, base_url, rows=80)
        with pytest.raises(FileExistsError):
            write_demo_pool(tmp_path, base_url, rows=80)

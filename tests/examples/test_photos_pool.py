"""The photograph pool: built from the real data, served by nginx, each URL behaving as planted."""

from __future__ import annotations

import hashlib
import http.client
import importlib
import io
import shutil
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageOps

from pairmill.pipeline.demo.faults import EXPECTED, KEPT
from pairmill.pipeline.demo.identify import is_english

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photos"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
PHOTOGRAPHS = 1239

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.nginx,
    pytest.mark.skipif(NGINX is None, reason="nginx is not on this machine (Debian: apt-get install nginx-light)"),
]


@dataclass(frozen=True)
class PhotoPool:
    folder: Path
    base_url: str
    rows: pl.DataFrame

    def urls(self, planted: str) -> list[str]:
        found = self.rows.filter(pl.col("planted") == planted)["url"].to_list()
        assert found, f"nothing is planted as {planted}"
        return found


@pytest.fixture(scope="module")
def example() -> Iterator[dict[str, Any]]:
    """The modules of the example, which import each other as programs in one folder do."""
    names = ("altered", "photographs", "make_pool", "serve")
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(EXAMPLE))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pool(example: dict[str, Any], shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhotoPool]:
    folder = tmp_path_factory.mktemp("photos") / "pool"
    (folder / "www").mkdir(parents=True)
    with example["serve"].serve(folder) as base_url:
        path = example["make_pool"].make_pool(folder, shared_data, base_url)
        yield PhotoPool(folder, base_url, pl.read_parquet(path).with_row_index("row"))


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: Any


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def ask(url: str, follow: bool = True, timeout: float = 5) -> Answer:
    quoted = urllib.parse.quote(url, safe=":/%?=&")
    opener = urllib.request.build_opener() if follow else urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(quoted, timeout=timeout) as answer:
            return Answer(answer.status, answer.read(), answer.headers)
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read(), error.headers)


def opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(ask(url).body))


def test_the_pool_is_large_enough_and_every_row_has_its_truth(pool: PhotoPool, example: dict[str, Any]) -> None:
    make_pool = example["make_pool"]
    planted = sum(make_pool.BESIDE.values())
    assert pool.rows.height == PHOTOGRAPHS + planted >= 1500
    assert set(pool.rows["planted"]) == {"", "small_photograph", *make_pool.IN_PLACE, *make_pool.BESIDE}
    assert pool.rows["expect"].to_list() == [EXPECTED[kind] for kind in pool.rows["planted"]]
    counts = dict(pool.rows["planted"].value_counts().iter_rows())
    for kind, count in {**make_pool.IN_PLACE, **make_pool.BESIDE}.items():
        assert counts[kind] == count, kind


def test_every_real_photograph_is_kept_but_for_the_small_one(pool: PhotoPool) -> None:
    """Each photograph ends as one kept row, under its own URL, a mirror of it, or in its altered form."""
    copies = ["mirrored", "recoloured"]
    kept = pool.rows.filter((pl.col("expect") == KEPT) & ~pl.col("planted").is_in(copies))
    assert kept.height == PHOTOGRAPHS - 1
    assert kept["url"].n_unique() == kept.height
    assert len(pool.urls("small_photograph")) == 1
    assert set(kept["source"]) == {"coco", "clothing"}
    assert kept["license"].str.len_chars().min() > 0


def test_kept_captions_pass_the_rules_and_planted_ones_fail_one(pool: PhotoPool) -> None:
    for planted, expect, caption in pool.rows.select("planted", "expect", "caption").iter_rows():
        if planted in ("null_caption", "blank_caption"):
            assert not (caption or "").strip()
            continue
        broken = (len(caption.split()) <= 2, len(caption) <= 5, not is_english(caption))
        expected = {"one_word": (True, False, False), "short": (False, True, False), "german": (False, False, True)}
        assert broken == expected.get(planted, (False, False, False)), (planted, caption)
        assert ("\n" in caption) == (planted == "newline")
        assert expect != KEPT or not any(broken)


def test_the_same_seed_gives_the_same_pool(
    pool: PhotoPool, example: dict[str, Any], shared_data: Path, tmp_path: Path
) -> None:
    path = example["make_pool"].make_pool(tmp_path / "again", shared_data, pool.base_url)
    assert path.read_bytes() == (pool.folder / "pool.parquet").read_bytes()
    for folder in (tmp_path / "again", pool.folder):
        assert (folder / "www" / "photos").is_symlink()
    planted = [sorted((folder / "www" / "planted").iterdir()) for folder in (tmp_path / "again", pool.folder)]
    assert [p.name for p in planted[0]] == [p.name for p in planted[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*planted, strict=True))
    with pytest.raises(FileExistsError):
        example["make_pool"].make_pool(tmp_path / "again", shared_data, pool.base_url)


def test_real_photographs_are_served_as_they_are(pool: PhotoPool, shared_data: Path) -> None:
    for place, source in (("photos", "photos/images"), ("clothing", "clothing/images")):
        urls = [url for url in pool.urls("") if f"/{place}/" in url][:20]
        for url in urls:
            answer = ask(url)
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "image/jpeg"
            assert answer.body == (shared_data / source / url.rsplit("/", 1)[1]).read_bytes()


def test_no_two_real_photographs_are_near_duplicates(shared_data: Path, example: dict[str, Any]) -> None:
    pictures = [photo.open() for photo in example["photographs"].read_photographs(shared_data, 0)]
    hashes = np.array([imagehash.phash(picture).hash.ravel() for picture in pictures], np.float32)
    apart = 64 - hashes @ hashes.T - (1 - hashes) @ (1 - hashes).T
    np.fill_diagonal(apart, 64)
    assert apart.min() > 4


STATUSES = {
    "status_404": 404,
    "status_410": 410,
    "status_403": 403,
    "status_451": 451,
    "status_400": 400,
    "status_500": 500,
    "status_429": 429,
}


@pytest.mark.parametrize("kind", STATUSES)
def test_servers_that_say_no(pool: PhotoPool, kind: str) -> None:
    assert {ask(url).status for url in pool.urls(kind)} == {STATUSES[kind]}


@pytest.mark.parametrize("kind", ["once_429", "once_500", "once_503"])
def test_servers_that_fail_once(pool: PhotoPool, kind: str) -> None:
    code = int(kind.removeprefix("once_"))
    for url in pool.urls(kind):
        assert ask(url).status == code
        second = ask(url)
        assert second.status == 200
        assert Image.open(io.BytesIO(second.body)).format == "JPEG"


@pytest.mark.parametrize("tag", ["noai", "noimageai", "noindex", "noimageindex", "none", "nofollow"])
def test_owners_who_opted_out(pool: PhotoPool, tag: str) -> None:
    for url in pool.urls(f"robots_{tag}"):
        answer = ask(url)
        assert (answer.status, answer.headers["X-Robots-Tag"]) == (200, tag)
        assert answer.body[:2] == b"\xff\xd8"


def test_dead_links(pool: PhotoPool) -> None:
    for url in pool.urls("refused"):
        with pytest.raises(urllib.error.URLError, match="refused"):
            ask(url)
    for url in pool.urls("no_host"):
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo(urllib.parse.urlsplit(url).hostname, 80)


def test_redirects(pool: PhotoPool) -> None:
    for url in pool.urls("hops"):
        assert ask(url).status == 200
        seen = [url]
        while (answer := ask(seen[-1], follow=False)).status == 302:
            seen.append(urllib.parse.urljoin(seen[-1], answer.headers["Location"]))
        assert len(seen) == 4
    for url in pool.urls("loop"):
        answer = ask(url, follow=False)
        assert answer.status == 302
        assert urllib.parse.urljoin(url, answer.headers["Location"]) == url


def test_bodies_that_are_no_picture(pool: PhotoPool) -> None:
    for kind, content_type in (("html", "text/html"), ("html_as_jpeg", "image/jpeg")):
        for url in pool.urls(kind):
            answer = ask(url)
            assert (answer.status, answer.headers["Content-Type"]) == (200, content_type)
            assert answer.body.startswith(b"<!DOCTYPE html>")
    assert all((ask(url).status, ask(url).body) == (200, b"") for url in pool.urls("empty"))
    for kind, message in (("garbage", "cannot identify"), ("truncated", "truncated")):
        for url in pool.urls(kind):
            with pytest.raises(OSError, match=message):
                opened(url).load()
    assert all(ask(url).body[4:12] == b"ftypheic" for url in pool.urls("heic"))


def test_bodies_that_are_too_large(pool: PhotoPool) -> None:
    for url in pool.urls("huge"):
        answer = ask(url)
        assert int(answer.headers["Content-Length"]) == len(answer.body) > 4 << 20
        Image.open(io.BytesIO(answer.body)).load()
    for url in pool.urls("endless"):
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.headers["Content-Length"] is None
            assert len(answer.read(5 << 20)) == 5 << 20
    for url in pool.urls("bomb"):
        body = ask(url).body
        assert len(body) < 1 << 18
        assert body[16:24] == (16384).to_bytes(4, "big") * 2


def test_servers_that_do_not_finish(pool: PhotoPool) -> None:
    for url in pool.urls("drip"):
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert answer.status == 200
            assert answer.read(2) == b"\xff\xd8"
    for url in pool.urls("stall"):
        with pytest.raises(TimeoutError):
            ask(url, timeout=0.3)
    for url in pool.urls("cut"):
        with pytest.raises(http.client.IncompleteRead):
            ask(url)


def test_unusual_makes(pool: PhotoPool) -> None:
    modes = {"cmyk": {"CMYK"}, "alpha": {"RGBA"}, "png": {"RGB"}, "webp": {"RGB"}, "animated": {"P", "RGB"}}
    for kind, expected in modes.items():
        assert {opened(url).mode for url in pool.urls(kind)} <= expected, kind
    assert all(opened(url).n_frames == 3 for url in pool.urls("animated"))  # type: ignore[attr-defined]
    assert all(ask(url).body[24] == 16 for url in pool.urls("sixteen_bit"))  # the bit depth in a PNG's header
    orientations = {opened(url).getexif()[0x0112] for url in pool.urls("exif")}
    assert orientations == set(range(2, 9))


def test_kept_rows_decode_to_the_expected_size(pool: PhotoPool) -> None:
    altered = pool.rows.filter((pl.col("expect") == KEPT) & (pl.col("planted") != ""))
    for url, width, height in altered.select("url", "expect_width", "expect_height").iter_rows():
        if "/odd/once/" not in url:
            assert ImageOps.exif_transpose(opened(url)).size == (width, height), url


def test_sizes_that_rules_drop(pool: PhotoPool) -> None:
    assert all(opened(url).size == (1, 1) for url in pool.urls("one_pixel"))
    assert all(opened(url).size == (96, 100) for url in pool.urls("tiny"))
    assert all(min(opened(url).size) < 200 for url in pool.urls("small_photograph"))
    for url in pool.urls("strip"):
        width, height = opened(url).size
        assert height >= 200
        assert width / height > 3


def test_repeats_lose_to_rows_that_are_kept(pool: PhotoPool) -> None:
    lost = pool.rows.filter(pl.col("expect_survivor").is_not_null())
    assert lost.height == 170
    named = lost.filter(pl.col("planted") != "repeated_row")["expect_survivor"].to_list()
    assert set(pool.rows[named]["expect"]) == {KEPT}
    for row in lost.filter(planted="same_bytes").iter_rows(named=True):
        winner = pool.rows["url"][row["expect_survivor"]]
        assert winner != row["url"]
        digests = {hashlib.sha256(ask(url).body).hexdigest() for url in (winner, row["url"])}
        assert len(digests) == 1
    for kind in ("resized", "recompressed"):
        for row in lost.filter(planted=kind).iter_rows(named=True):
            copy, original = opened(row["url"]), opened(pool.rows["url"][row["expect_survivor"]])
            assert (copy.size == original.size) == (kind == "recompressed")
            assert imagehash.phash(copy) - imagehash.phash(original) <= 2


def test_addresses_that_nobody_may_ask(pool: PhotoPool) -> None:
    hosts = {urllib.parse.urlsplit(url).hostname for url in pool.urls("private_address")}
    assert hosts == {"10.0.0.1", "169.254.169.254", "192.168.0.10"}
    assert all(not url.startswith(("http://127", "https:")) for url in pool.urls("bad_url"))
    assert {url.split(":")[0] for url in pool.urls("bad_scheme")} == {"ftp", "data", "file"}


def test_a_port_that_is_taken_is_named(pool: PhotoPool, example: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    port = int(pool.base_url.rsplit(":", 1)[1])
    error = example["serve"].NginxError
    with pytest.raises(error, match=f"does not start on port {port}"), example["serve"].serve(tmp_path, port):
        pass


def test_nginx_writes_in_its_own_folder_and_ends(example: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.jpg").write_bytes(b"\xff\xd8")
    with example["serve"].serve(tmp_path) as base_url:
        port = int(base_url.rsplit(":", 1)[1])
        assert ask(base_url + "/a.jpg").body == b"\xff\xd8"
        assert ask(base_url + "/b.jpg").status == 404
        assert (tmp_path / "nginx" / "nginx.pid").is_file()
    assert not (tmp_path / "nginx" / "nginx.pid").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0

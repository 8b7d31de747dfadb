"""``shard-stats`` on other people's shards: scanned in several processes, compared with one another, given indexes."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from pairmill.sharding import scan
from pairmill.sharding.errors import UsageError
from pairmill.sharding.foreign_index import index_shards
from pairmill.sharding.plain_scan import scan_plain
from pairmill.sharding.scan_all import scan_all
from pairmill.sharding.stats_cli import examine, find_shards, main

Record = dict[str, Any]


def write(folder: Path, shards: list[list[Record]], picture: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for number, records in enumerate(shards):
        with tarfile.open(folder / f"{number:05d}.tar", "w") as archive:
            for i, record in enumerate(records):
                for extension, data in (
                    ("jpg", picture), ("txt", f"caption {i}".encode()), ("json", json.dumps(record).encode()),
                ):  # fmt: skip
                    info = tarfile.TarInfo(f"{number:05d}{i:04d}.{extension}")
                    info.size, info.mtime = len(data), 99.5  # type: ignore[assignment]
                    archive.addfile(info, io.BytesIO(data))
    return folder


@pytest.fixture
def laion(tmp_path: Path, picture: Any) -> Path:
    return write(tmp_path / "laion", [[{"caption": "a", "width": 8}] * 5] * 3, picture(8, 6))


def warned(folder: Path) -> list[str]:
    return [str(warning) for warning in examine(find_shards(folder), verify=False).warnings]


def test_several_processes_find_the_same(laion: Path) -> None:
    tars = sorted(laion.glob("*.tar"))
    told: list[int] = []
    one = scan_all(tars, True, processes=1)
    two = scan_all(tars, True, processes=2, progress=told.append)
    assert one == two
    assert told == [1, 2, 3]
    assert [scan.samples for scan in one] == [5, 5, 5]
    assert not warned(laion)


@pytest.mark.parametrize(
    ("shards", "told"),
    [
        ([[{"a": 1}, {"a": 1.5}]], "has a number for 'a' (not a whole number), unlike those before"),
        ([[{"a": 1}, {"a": None}]], "has a null for 'a' (not a whole number)"),
        ([[{"a": 1}, {"a": 1, "b": 2}, {}]], "has a key 'b', unlike those before (and 1 more like it)"),
        ([[{"a": 1}], [{"a": "x"}]], "00001.tar: its first record has a string for 'a' (not a whole number), unlike"),
        ([[{"a": 1, "b": 2}], [{"b": 2}]], "00001.tar: its first record has no key 'a', unlike that of 00000.tar"),
        ([[{}] * 4, [{}] * 2], "00001.tar: holds 2 samples, 00000.tar holds 4"),
    ],
)  # fmt: skip
def test_shards_that_differ_are_told(tmp_path: Path, picture: Any, shards: list[list[Record]], told: str) -> None:
    found = warned(write(tmp_path / "set", shards, picture(8, 6)))
    assert any(told in line for line in found), found


def test_indexes_for_shards_that_have_none(laion: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(laion), "--index"]) == 0
    assert "index files written" in capsys.readouterr().out
    assert json.loads((laion / "sizes.json").read_bytes()) == {f"{n:05d}.tar": 5 for n in range(3)}
    assert (laion / ".nv-meta" / "dataset.yaml").is_file()
    assert (laion / "00002.idx").read_bytes().startswith(b"v1.2 5\njpg ")
    assert main([str(laion), "--verify"]) == 0
    before = {path: path.read_bytes() for path in laion.rglob("*") if path.is_file()}
    assert main([str(laion), "--index"]) == 0  # again: all is there
    assert {path: path.read_bytes() for path in laion.rglob("*") if path.is_file()} == before


def test_energon_and_wids_know_all_samples(laion: Path) -> None:
    index_shards(laion, sorted(laion.glob("*.tar")))
    info = json.loads((laion / ".nv-meta" / ".info.json").read_bytes())
    assert info["shard_counts"] == {f"{n:05d}.tar": 5 for n in range(3)}
    wids = json.loads((laion / "shardindex.json").read_bytes())
    assert [shard["nsamples"] for shard in wids["shardlist"]] == [5, 5, 5]


def test_what_cannot_be_indexed(laion: Path, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (laion / "00001.tar").write_bytes((laion / "00001.tar").read_bytes()[:3000])
    assert main([str(laion), "--index"]) == 1
    told = capsys.readouterr()
    assert "00001.tar: at byte" in told.err
    assert "none of the whole set" in told.out
    assert not (laion / "00001.idx").exists()
    assert not (laion / "sizes.json").exists()
    shutil.copytree(written, tmp_path / "ours")
    assert main([str(tmp_path / "ours"), "--index"]) == 2
    assert main([str(laion / "00000.tar"), "--index"]) == 2
    (laion / "00000.idx").write_bytes(b"v1.2 1\n")
    with pytest.raises(UsageError, match=r"00000\.idx is there and is not the index of 00000\.tar"):
        index_shards(laion, [laion / "00000.tar"])


def test_scan_reads_the_tars_though_there_is_metadata(written: Path) -> None:
    told = examine(find_shards(written), verify=False)
    scanned = examine(find_shards(written), verify=False, scan=True)
    assert (told.statistics.source, scanned.statistics.source) == ("metadata", "tars")
    assert told.statistics.distributions["width"].count == scanned.statistics.distributions["width"].count


def test_the_short_way_finds_what_the_long_way_finds(tmp_path: Path, picture: Any) -> None:
    records: list[Record] = [{"caption": "ä", "lang": "de"}, {"caption": 1}, {"text": "tt", "language": "fr"}]
    folder = write(tmp_path / "set", [records * 3], picture(8, 6))
    with tarfile.open(folder / "00000.tar", "a") as archive:
        for name, data in (
            ("x1.PNG", picture(5, 7, "PNG")), ("x1.txt", b"\xff"), ("x1.json", b"[" * 99),
            ("x2.cls", b"3"), ("x3.webp", b"no image"), ("x3.jpg", picture(9, 9)),
            ("x4.json", b' {"caption": "ccc"}\n'),
            ("x5.json", json.dumps({"caption": "bom"}).encode("utf-16")),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    plain = scan_plain(folder / "00000.tar", True)
    long = scan._thorough(folder / "00000.tar", True)
    assert sorted(plain.warnings) == sorted(long.warnings)
    plain.warnings = long.warnings
    assert plain == long
    assert sorted(long.caption_lengths)[-2:] == [9, 9]
    assert {"PNG", "cls", "webp"} <= set(long.members)

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.sharding.stats_cli import main

SHARD = "train-00001-of-00003"


@pytest.fixture
def stats(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, list[str]]]:
    """Run ``shard-stats --json``: exit code, the object, the lines on stderr without the command's name."""

    def run(*arguments: str | Path) -> tuple[int, Any, list[str]]:
        code = main(["--json", *map(str, arguments)])
        output = capsys.readouterr()
        assert all(line.startswith("shard-stats: ") for line in output.err.splitlines())
        lines = [line.removeprefix("shard-stats: ") for line in output.err.splitlines()]
        return code, json.loads(output.out) if output.out else None, lines

    return run


Stats = Callable[..., tuple[int, Any, list[str]]]


def tar_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


def test_a_dataset_with_metadata(written: Path, table: pl.DataFrame, stats: Stats) -> None:
    code, found, lines = stats(written, "--verify")
    assert (code, lines, found["faults"], found["verified"]) == (0, [], [], True)
    assert (found["shards"], found["samples"], found["source"]) == (5, 30, "metadata")
    assert found["bytes"] == sum(path.stat().st_size for path in written.glob("*.tar"))
    assert found["samples_per_shard"] == {"min": 3, "max": 8}
    assert {split: counts["samples"] for split, counts in found["splits"].items()} == {"train": 24, "val": 6}
    assert found["members"] == {"jpg": 30, "json": 30, "txt": 30}
    assert found["languages"] == {"en": 19, "de": 10, "": 1}
    width = found["distributions"]["width"]
    assert (width["min"], width["max"], width["mean"], width["count"]) == (20, 49, 34.5, 30)
    lengths = table["caption"].str.len_chars()
    assert found["distributions"]["caption_length"]["mean"] == pytest.approx(lengths.mean())
    assert found["distributions"]["aspect"]["min"] == 0.5
    assert found["distributions"]["image_bytes"]["count"] == 30


def test_the_tars_alone_tell_the_same(dataset: Path, stats: Stats) -> None:
    _, with_metadata, _ = stats(dataset)
    shutil.rmtree(dataset / "metadata")
    (dataset / "manifest.json").unlink()
    code, without, lines = stats(dataset)
    assert (code, lines, without.pop("source")) == (0, [], "tars")
    with_metadata.pop("source")
    assert without == with_metadata


def test_one_tar_and_one_split(written: Path, stats: Stats) -> None:
    code, one, _ = stats(written / f"{SHARD}.tar", "--verify")
    assert (code, one["shards"], one["samples"], one["source"]) == (0, 1, 8, "tars")
    code, val, _ = stats(written, "--splits", "val", "--verify")
    assert (code, val["shards"], val["samples"], list(val["splits"])) == (0, 2, 6, ["val"])
    assert val["distributions"]["width"]["count"] == 6


def test_a_build_folder_means_its_dataset(dataset: Path, stats: Stats) -> None:
    assert stats(dataset.parent)[1]["samples"] == 30


def test_tables(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(written), "--verify"]) == 0
    text = capsys.readouterr().out
    for word in ("train", "width", "aspect", "caption length", "image bytes", "de", "json", "█", "verified: no faults"):
        assert word in text


def test_usage_faults(written: Path, tmp_path: Path, stats: Stats) -> None:
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "a.tar.gz").touch()
    for arguments, what in [
        ((tmp_path / "absent",), "does not exist"),
        ((tmp_path,), "holds no .tar files"),
        ((tmp_path / "gz",), "only compressed ones"),
        ((written, "--splits", "test"), "no shards of split 'test'"),
    ]:
        code, found, lines = stats(*arguments)
        assert (code, found) == (2, None)
        assert len(lines) == 1
        assert what in lines[0]
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_truncated_shard_is_one_line(dataset: Path, stats: Stats) -> None:
    path = dataset / f"{SHARD}.tar"
    os.truncate(path, path.stat().st_size // 2)
    for arguments in ((dataset,), (path,)):
        code, found, lines = stats(*arguments)
        assert code == 1
        assert len(lines) == 1
        assert lines[0].startswith(f"{SHARD}.tar: at byte ")
        assert "truncated" in lines[0]
        assert 0 < found["samples"] < 30


def test_damage_that_only_the_sum_shows(dataset: Path, stats: Stats) -> None:
    flip(dataset / f"{SHARD}.tar", 600)  # in an image
    assert stats(dataset)[0] == 0
    for arguments in ((dataset,), (dataset / f"{SHARD}.tar",), (dataset, "--splits", "train")):
        code, _, lines = stats(*arguments, "--verify")
        assert code == 1
        assert lines == [f"{SHARD}.tar: its sha256 is not the one in manifest.json: the content has changed"]
    assert stats(dataset, "--splits", "val", "--verify")[0] == 0


@pytest.mark.parametrize("name", [f"{SHARD}.idx", f"{SHARD}.tar.idx", "sizes.json", "README.md", ".nv-meta/.info.json"])
def test_missing_and_short_files_show_without_reading(dataset: Path, stats: Stats, name: str) -> None:
    os.truncate(dataset / name, 3)
    code, _, lines = stats(dataset)
    assert (code, lines[0].split(",")[0]) == (1, f"{name}: has 3 bytes")
    (dataset / name).unlink()
    assert stats(dataset)[2] == [f"{name}: is missing, though manifest.json names it"]


def test_wrong_indexes_of_anyones_tars(dataset: Path, stats: Stats) -> None:
    (dataset / "manifest.json").unlink()
    flip(dataset / f"{SHARD}.tar.idx", 8)
    flip(dataset / f"{SHARD}.idx", 40)
    (dataset / "val-00000-of-00002.idx").write_text("v1.2 9\n")
    (dataset / "val-00001-of-00002.idx").write_text("v1.1 3\n")
    os.truncate(dataset / "val-00000-of-00002.tar.idx", 8)
    (dataset / "sizes.json").write_text(json.dumps({f"{SHARD}.tar": 9}))
    (dataset / "shardindex.json").write_text("[1")
    assert stats(dataset)[0] == 0
    code, _, lines = stats(dataset, "--verify")
    assert code == 1
    assert lines == [
        f"{SHARD}.tar.idx: Energon index is wrong: entry 1 is not where the tar has that sample",
        f"{SHARD}.idx: DALI index is wrong: line 2 is not what the tar has",
        "val-00000-of-00002.tar.idx: Energon index is wrong: has 8 bytes where the tar's 3 samples need 32",
        "val-00000-of-00002.idx: DALI index is wrong: it starts 'v1.2 9', the tar needs 'v1.2 3'",
        "val-00001-of-00002.idx: DALI index is wrong: its first line is not of version v1.2",
        f"{SHARD}.tar: holds 8 samples, sizes.json says 9",
        "shardindex.json: is no index of shards that can be read",
    ]


def test_a_stranger_among_the_shards(dataset: Path, stats: Stats) -> None:
    shutil.copy(dataset / f"{SHARD}.tar", dataset / "train-00003-of-00004.tar")
    code, _, lines = stats(dataset, "--verify")
    assert (code, lines) == (1, ["train-00003-of-00004.tar: is not named in manifest.json"])


def test_metadata_that_disagrees(dataset: Path, table: pl.DataFrame, stats: Stats) -> None:
    (dataset / "manifest.json").unlink()
    last = pl.col("shard") == SHARD
    swapped = table.with_columns(pl.when(last).then(7 - pl.col("index")).otherwise("index").alias("index"))
    swapped.filter(pl.col("key") != table["key"][-1]).write_parquet(dataset / "metadata" / "00000.parquet")
    code, _, lines = stats(dataset, "--verify")
    assert code == 1
    assert f"{SHARD}.tar: sample 0 has the key {table['key'][8]!r}" in lines[0]
    assert lines[1] == "val-00001-of-00002.tar: holds 3 samples, the metadata has 2 rows for it"


def test_unreadable_metadata_is_a_fault_and_the_tars_tell(dataset: Path, stats: Stats) -> None:
    (dataset / "metadata" / "00000.parquet").write_bytes(b"not parquet")
    code, found, lines = stats(dataset)
    assert (code, found["source"], found["distributions"]["width"]["count"]) == (1, "tars", 30)
    assert lines[0].startswith("metadata/00000.parquet: cannot be read")
    assert len(lines) == 1


def test_metadata_with_few_columns(dataset: Path, table: pl.DataFrame, stats: Stats) -> None:
    (dataset / "manifest.json").unlink()
    table.select("key", "lang").write_parquet(dataset / "metadata" / "00000.parquet")
    code, found, _ = stats(dataset, "--verify")
    assert code == 0
    assert list(found["distributions"]) == ["image_bytes"]
    assert found["languages"]["en"] == 19


def test_a_damaged_manifest(dataset: Path, stats: Stats) -> None:
    (dataset / "manifest.json").write_text("{}")
    code, found, lines = stats(dataset)
    assert (code, found["samples"]) == (1, 30)
    assert lines == ["manifest.json: is not the manifest of a pairmill dataset (no format 'pairmill-dataset' in it)"]


def link(name: str, type: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = type, "../../etc/passwd"
    return info


def test_hostile_members_are_told_and_nothing_is_unpacked(tmp_path: Path, stats: Stats) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tar_of(
        folder / "a.tar",
        ("0.jpg", b"no image"),
        ("../../escaped.txt", b"x"),
        ("/tmp/escaped.txt", b"x"),
        link("0.txt", tarfile.SYMTYPE),
        link("zero.jpg", tarfile.CHRTYPE),
        ("\x1b[31m.txt", b"x"),
        ("0.json", b'{"lang": "de", "caption": "\xc3\xbc"}'),
    )
    code, found, lines = stats(folder)
    assert (code, found["samples"]) == (1, 3)
    assert lines == [
        "warning: a.tar: image '0.jpg' has no readable JPEG, PNG or WebP header",
        "a.tar: member '../../escaped.txt' leads out of the folder it would be unpacked in (and 1 more like it)",
        "a.tar: member '0.txt' is a symbolic link, not a file (and 1 more like it)",
        "a.tar: key '0' comes twice; the members of a sample must be adjacent, keys unique",
    ]
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "a.tar"]
    assert found["languages"] == {"de": 1}


def test_pax_shards_with_long_names_are_read(tmp_path: Path, picture: Callable[..., bytes], stats: Stats) -> None:
    key = "folder/" + "k" * 200
    tar_of(
        tmp_path / "a.tar",
        (f"{key}.png", picture(30, 20, "PNG")),
        (f"{key}.txt", "schön".encode()),
        (f"{key}.json", b'{"language": "de", "deep": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
        format=tarfile.PAX_FORMAT,
    )
    code, found, lines = stats(tmp_path, "--verify")
    assert (code, found["samples"], found["members"]) == (0, 1, {"json": 1, "png": 1, "txt": 1})
    assert found["distributions"]["aspect"]["p50"] == 1.5
    assert found["distributions"]["caption_length"]["max"] == 5
    assert all("warning" in line for line in lines)


def test_keys_and_members_across_shards(tmp_path: Path, stats: Stats) -> None:
    tar_of(tmp_path / "a.tar", ("0.jpg", b""), ("0.txt", b""), ("1.txt", b""), ("1.jpg", b""), ("2.jpg", b""))
    tar_of(tmp_path / "b.tar", ("2.jpg", b""), ("3.jpg", b""), ("1.jpg", b""))
    assert stats(tmp_path)[0] == 0
    code, _, lines = stats(tmp_path, "--verify")
    assert code == 1
    faults = [line for line in lines if not line.startswith("warning")]
    assert faults == [
        "a.tar: sample '1' has members txt jpg, the first has jpg txt (and 1 more like it)",
        "b.tar: key '2' is in a.tar too (and 1 more like it)",
    ]


def test_bad_texts_are_warnings(tmp_path: Path, stats: Stats) -> None:
    tar_of(tmp_path / "a.tar", ("0.txt", b"\xff"), ("0.json", b"[1]"), ("1.json", b"{"), ("README", b""))
    code, found, lines = stats(tmp_path)
    assert (code, found["samples"], found["languages"]) == (0, 2, {})
    assert len(lines) == 3
    assert all(line.startswith("warning: a.tar: ") for line in lines)


def test_empty_and_special_tars(tmp_path: Path, stats: Stats) -> None:
    (tmp_path / "a.tar").touch()
    tar_of(tmp_path / "b.tar")
    os.mkfifo(tmp_path / "c.tar")
    (tmp_path / "d.tar").symlink_to(tmp_path / "absent")
    (tmp_path / "e.tar").mkdir()
    code, found, lines = stats(tmp_path)
    assert (code, found["shards"], found["samples"]) == (1, 5, 0)
    assert [line.split(":")[0] for line in lines] == [f"{name}.tar" for name in "abcde"]
    assert "empty" in lines[0]
    assert "no samples" in lines[1]
    assert "regular file" in lines[2]
    assert "No such file" in lines[3]


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("bad", 1), ("absent", 2)])
def test_exit_codes_of_the_command(written: Path, tmp_path: Path, name: str, code: int) -> None:
    shutil.copytree(written, tmp_path / "good")
    shutil.copytree(written, tmp_path / "bad")
    os.truncate(tmp_path / "bad" / f"{SHARD}.tar", 5000)
    command = [sys.executable, "-m", "pairmill.sharding.stats_cli", str(tmp_path / name), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert len(ended.stderr.splitlines()) == (1 if code else 0)
    assert "Traceback" not in ended.stderr


def test_starts_light(written: Path) -> None:
    code = (
        "import sys\nfrom pairmill.sharding.stats_cli import main\n"
        f"assert main([{str(written)!r}, '--verify']) == 0\n"
        "heavy = {'apache_beam', 'torch', 'cv2', 'PIL', 'pydantic', 'aiohttp', 'pandas', 'pyarrow'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "heavy: []"

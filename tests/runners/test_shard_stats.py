"""``shard-stats --bench`` and ``--topology``, and ``pairmill plan-shards``, on a small dataset."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pairmill.runners.bench_command import WAYS, bench_lines
from pairmill.runners.cli import main
from pairmill.runners.shard_stats import main as shard_stats
from pairmill.sharding import disk_probe
from pairmill.transforms.loader_probe import Read, _share

if TYPE_CHECKING:
    from conftest import SmallPool


@pytest.fixture(scope="module")
def dataset(small_pool: SmallPool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    recipe = small_pool.recipe(folder / "small.yaml")
    assert main(["run", str(recipe), "--out", str(folder / "build"), "--quiet"]) == 0
    return folder / "build" / "dataset"


def test_bench_reads_every_way(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--bench", "--workers", "2", "--seconds", "0.3", "--gpu-samples-per-second", "100"]
    assert shard_stats([str(dataset), *options, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for way in ("cold", "cold_decoded", "warm", "warm_decoded"):
        assert told[way]["samples"] > 0
        assert told[way]["samples_per_s"] > 0
        assert told[way]["processor_s"] > 0
        assert told[way]["busy_cores"] <= 2.1
        assert told[way]["alone_samples_per_s"] >= 0.99 * told[way]["samples_per_s"]
    assert told["cold"]["samples"] == 24  # nothing is read twice
    assert told["warm"]["samples"] > 24
    assert told["gpus_fed"] == pytest.approx(told["cold_decoded"]["samples_per_s"] / 100)
    assert {told[way]["binds"] for way in WAYS} <= {"processor", "disk"}
    lines = bench_lines(told)
    assert lines[0].startswith("read by 2 loader workers")
    assert sum(" cores busy" in line for line in lines) == 4
    spoiled = {**told, "warm": {**told["warm"], "alone_samples_per_s": 10 * told["warm"]["samples_per_s"]}}
    assert any("other programs had the cores" in line for line in bench_lines(spoiled))
    quiet = {way: {**told[way], "alone_samples_per_s": told[way]["samples_per_s"]} for way in WAYS}
    assert not any("other programs" in line for line in bench_lines({**told, **quiet}))


def test_what_binds_is_what_a_worker_waits_for() -> None:
    """Two workers of ten seconds each: of what other programs left them, how much was work."""
    for processor_s, queued_s, binds in ((19, 0, "processor"), (4, 0, "disk"), (4, 15, "processor"), (2, 12, "disk")):
        read = Read(1000, 10**6, 10.0, processor_s, queued_s, workers=2)
        assert read.binds == binds
        assert read.alone_samples_per_s == pytest.approx(1000 / (10 - queued_s / 2))


def test_every_worker_has_shards(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(5)]
    for workers in range(1, 9):
        shares = [_share(paths, number, workers) for number in range(workers)]
        assert all(shares)
        assert {path for share in shares for path in share} == set(paths)


def test_what_cannot_be_measured_is_one_line(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, told in (
        ([str(dataset), "--bench", "--workers", "0"], "workers must be at least 1"),
        ([str(dataset), "--bench", "--seconds", "0"], "seconds must be above 0"),
        ([str(dataset), "--bench", "--edge", "9000"], "edge must be from 1 to 8192"),
        ([str(tmp_path), "--bench"], "holds no .tar files"),
        ([str(dataset), "--topology", "gpu=8"], "write nodes=2,gpus=8,workers=6"),
    ):
        assert shard_stats(command) == 2
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1


def test_a_broken_shard_ends_the_bench(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tar").write_bytes(b"nothing of a tar" * 1000)
    assert shard_stats([str(tmp_path), "--bench", "--seconds", "0.2"]) == 1
    assert "a loader process failed" in capfd.readouterr().err


def test_topology_is_judged(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shard_stats([str(dataset), "--topology", "gpus=3", "--json"]) == 0
    verdicts = {one["loader"]: one["verdict"] for one in json.loads(capsys.readouterr().out)["topology"]}
    assert verdicts["webdataset"] == "even"
    assert shard_stats([str(dataset), "--topology", "nodes=2,gpus=8"]) == 0
    assert "train: open_clip: fails: it asserts a shard for each of 16" in capsys.readouterr().out


def test_plan_shards(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_probe, "PROBE_BYTES", 8 * disk_probe.STREAM_BLOCK_BYTES)
    monkeypatch.setattr("pairmill.runners.plan_shards_command.PROBE_S", 0.2)
    command = ["plan-shards", str(dataset), "--gpus", "2", "--workers", "2", "--samples", "1000000"]
    assert main([*command, "--json", "--remote-bytes-per-second", "1e8"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shards"] % 4 == 0
    assert told["samples"] == 1_000_000
    assert told["samples_per_s"] == min(told["by_resource"].values())
    assert told["by_resource"]["gpu"] == 2 * 787
    assert math.isclose(told["stage_in_s"], told["samples"] * told["sample_bytes"] / 1e8, rel_tol=0.01)
    assert told["by_resource"]["decode"] == 2 * told["decode_samples_per_s_a_core"] or told["cores"] != 2
    assert main([*command, "--decode-on-gpu", "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["by_resource"]) == {"gpu", "disk", "tars"}
    assert main([*command, "--samples-per-second", "0.001"]) == 0
    text = capsys.readouterr().out
    assert "gpu binds" in text
    assert "nothing: the GPUs are kept busy" in text
    assert "shards: {count: " in text
    assert main([*command, "--model", "ViT-X"]) == 2
    assert "what ViT-X takes on A100 is not known" in capsys.readouterr().err
    assert main(["plan-shards", str(dataset), "--gpus", "0"]) == 2
    assert "gpus must be at least 1" in capsys.readouterr().err

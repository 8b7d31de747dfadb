"""Every trainer that the documentation names reads a dataset of the main job: each sample once, with its bytes."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.runners.cli import main

if TYPE_CHECKING:
    from conftest import Reader

SAMPLES = 208


def assert_each_once(told: dict[str, Any]) -> None:
    """Two ranks saw half of the samples each, together all of them, in another order than that of their keys."""
    mine, yours = told["keys"]
    assert len(mine) == len(yours) == SAMPLES // 2
    assert sorted(mine + yours) == told["members"]
    assert len(told["members"]) == SAMPLES
    assert mine != sorted(mine)


def two_ranks(reader: Reader, script: str, lines: Path, folder: Path) -> list[Any]:
    """What both ranks of a training run tell, which run side by side and meet at a file."""

    def rank(number: int) -> Any:
        return reader.read(script, lines, number, folder / "meeting")

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(rank, range(2)))


def test_webdataset(own_reader: Callable[[str], Reader]) -> None:
    reader = own_reader("webdataset")
    told = reader.read("read_webdataset.py", reader.lines("webdataset"))
    assert int(told["version"].split(".")[0]) >= 1
    assert told["bytes_equal"]
    assert_each_once(told)


def test_webdataset_of_before(reader: Callable[[str], Reader]) -> None:
    """Version 0.2, which open_clip and img2dataset want."""
    old = reader("webdataset")
    told = old.read("read_webdataset.py", old.lines("webdataset"))
    assert told["version"].startswith("0.2.")
    assert told["bytes_equal"]
    assert_each_once(told)


def test_wids(reader: Callable[[str], Reader]) -> None:
    wids = reader("wids")
    told = wids.read("read_wids.py", wids.lines("wids"))
    assert told["untouched"]
    assert_each_once(told)


def test_hugging_face(own_reader: Callable[[str], Reader]) -> None:
    reader = own_reader("datasets")
    told = reader.read("read_hugging_face.py", reader.lines("Hugging Face datasets"))
    assert told["bytes_equal"]
    assert_each_once(told)


def test_open_clip_trains(reader: Callable[[str], Reader], tmp_path: Path) -> None:
    clip = reader("open_clip_train")
    told = clip.read("train_open_clip.py", clip.lines("open_clip"), tmp_path)
    assert told["sizes"] == [SAMPLES, 8]
    assert told["samples"] == SAMPLES
    assert told["seen"] == told["expected"]
    losses = told["losses"]
    assert len(losses) == 10 * SAMPLES // 26
    assert all(map(math.isfinite, losses))
    # A model that tells no two pictures of a batch apart stays at ln 26.
    assert max(losses[-8:]) < 0.8 * math.log(26) < min(losses[:2])


def test_energon_reads_with_two_ranks_and_resumes(reader: Callable[[str], Reader], tmp_path: Path) -> None:
    energon = reader("megatron.energon")
    both = two_ranks(energon, "read_energon.py", energon.lines("NVIDIA Energon"), tmp_path)
    assert_each_once({"keys": [told["keys"] for told in both], "members": both[0]["members"]})
    for told in both:
        assert told["version"].startswith("7.")
        assert len(told["followed"]) == 12
        assert told["resumed"] == told["followed"]
        assert told["passed"] != told["followed"][: len(told["passed"])]
    assert both[0]["passed"] != both[1]["passed"]


def test_streaming_reads_mds_with_two_ranks_and_resumes(
    reader: Callable[[str], Reader], both_formats: Path, tmp_path: Path
) -> None:
    streaming = replace(reader("streaming"), dataset=both_formats)
    both = two_ranks(streaming, "read_streaming.py", streaming.lines("mosaicml-streaming"), tmp_path)
    assert_each_once({"keys": [told["keys"] for told in both], "members": both[0]["members"]})
    for told in both:
        assert told["batches"] == 8
        assert told["resumed"] == told["followed"]
        assert len(told["followed"]) == 5


def test_groups_are_read_apart_and_mixed(reader: Callable[[str], Reader], dataset: Path, tmp_path: Path) -> None:
    asked = ["--group-by", "width", "--group-cuts", "51", "--group-names", "narrow,wide", "--shards", "2"]
    assert main(["reshard", str(dataset), str(tmp_path / "grouped"), "--format", "both", *asked, "--quiet"]) == 0
    told = replace(reader("streaming"), dataset=tmp_path / "grouped").read("read_groups.py")
    parts = {name: set(keys) for name, keys in told["parts"].items()}
    assert len(parts["train"]) == len(told["parts"]["train"]) == SAMPLES
    assert parts["train-narrow"] | parts["train-wide"] == parts["train"]
    assert not parts["train-narrow"] & parts["train-wide"]
    assert told["streams"] == {"narrow": 100, "wide": 300}  # exact
    assert set(told["mix"]) == {"narrow", "wide"}  # drawn


def test_dali(reader: Callable[[str], Reader]) -> None:
    dali = reader("nvidia.dali")
    assert_each_once(dali.read("read_dali.py", dali.lines("NVIDIA DALI")))


def test_dali_would_write_the_same_index(reader: Callable[[str], Reader], dataset: Path, tmp_path: Path) -> None:
    """Its own tool, which reads the tars."""
    dali = reader("nvidia.dali")
    tool = Path(dali.python).with_name("wds2idx")
    for tar in sorted(dataset.glob("*.tar"))[:2]:
        subprocess.run([dali.python, tool, tar, tmp_path / "made.idx"], check=True, capture_output=True)
        assert (tmp_path / "made.idx").read_bytes() == tar.with_suffix(".idx").read_bytes()


def test_spdl(reader: Callable[[str], Reader]) -> None:
    spdl = reader("spdl.io")
    told = spdl.read("read_spdl.py", spdl.lines("SPDL"))
    assert told["names"] == told["streamed"] == told["expected"]
    assert len(told["names"]) == 3 * SAMPLES


def test_the_lines_of_the_card(reader: Callable[[str], Reader], own_reader: Callable[[str], Reader]) -> None:
    theirs = reader("megatron.energon").read("read_card.py", "webdataset", "megatron.energon", "nvidia.dali")
    ours = own_reader("datasets").read("read_card.py", "datasets")
    found = {**theirs["captions"], **ours["captions"]}
    assert len(found["datasets"]) == SAMPLES
    assert found["webdataset"] == found["nvidia.dali"] == found["datasets"]
    assert set(found["megatron.energon"]) <= set(found["datasets"])
    assert len(found["megatron.energon"]) == 2 * 32

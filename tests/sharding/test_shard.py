from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding.shard import ShardInfo, ShardSample, check_key, write_shard
from pairmill.sharding.shard_plan import tar_bytes

SAMPLES = [ShardSample(f"{i:032x}", bytes([i]) * (i * 300), "jpg", f"caption {i} ü", b'{"i":%d}' % i) for i in range(9)]


def wds2idx(tar: Path) -> bytes:
    """DALI's tools/wds2idx.py told again: types and sizes from tarfile, samples by split_name, one line each."""
    samples: list[list[str]] = []
    last = None
    with tarfile.open(tar) as archive:
        for member in archive:
            if not member.isreg():
                continue
            dot = member.name.find(".", member.name.rfind("/") + 1)
            base, extension = member.name[:dot], member.name[dot + 1 :]
            if not base or base.endswith("/"):
                continue
            if base != last:
                samples.append([])
                last = base
            samples[-1] += [extension, str(member.offset_data), str(member.size), member.name]
    return "".join([f"v1.2 {len(samples)}\n", *(" ".join(sample) + "\n" for sample in samples)]).encode("ascii")


def energon(tar: Path) -> bytes:
    """Energon's index: the header offset of each sample's first member, and tarfile's offset after the last one."""
    offsets: list[int] = []
    last = None
    with tarfile.open(tar) as archive:
        for member in archive:
            base = member.name.split(".")[0]
            if base != last:
                offsets.append(member.offset)
                last = base
        offsets.append(archive.offset)
    return struct.pack(f"<{len(offsets)}Q", *offsets)


def test_a_shard_and_its_indexes(tmp_path: Path) -> None:
    info = write_shard(tmp_path / "train-00000-of-00001", SAMPLES)
    tar = tmp_path / "train-00000-of-00001.tar"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(file.name for file in info.files)
    for file in info.files:
        content = (tmp_path / file.name).read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (tmp_path / "train-00000-of-00001.idx").read_bytes() == wds2idx(tar)
    assert (tmp_path / "train-00000-of-00001.tar.idx").read_bytes() == energon(tar)
    assert (info.name, info.samples, info.tar_name) == ("train-00000-of-00001", 9, tar.name)
    sizes = [len(data) for s in SAMPLES for data in (s.image, s.caption.encode(), s.record)]
    assert info.bytes == tar_bytes(sizes)
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
        assert [m.name for m in members[:3]] == [f"{0:032x}.{extension}" for extension in ("jpg", "txt", "json")]
        assert {(m.mode, m.uid, m.gid, m.mtime, m.uname, m.type) for m in members} == {
            (0o444, 0, 0, 0, "", tarfile.REGTYPE)
        }
        assert archive.extractfile(members[13]).read() == "caption 4 ü".encode()  # type: ignore[union-attr]


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_gnu_tar_reads_it_and_agrees_on_the_blocks(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", SAMPLES)
    listed = subprocess.run(["tar", "-t", "-R", "-f", tmp_path / "a.tar"], capture_output=True, text=True, check=True)
    assert listed.stderr == ""
    headers = [int(line.split(":")[0].split()[1]) * 512 for line in listed.stdout.splitlines() if ": " in line]
    data = [int(word) for line in (tmp_path / "a.idx").read_text().splitlines()[1:] for word in line.split()[1::4]]
    assert [offset + 512 for offset in headers[: len(data)]] == data


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    once = write_shard(tmp_path / "a", SAMPLES)
    first = {path.name: path.read_bytes() for path in tmp_path.glob("a*") if path.is_file()}
    assert write_shard(tmp_path / "a", (s._replace(image=memoryview(s.image)) for s in SAMPLES)) == once
    assert write_shard(tmp_path / "again" / "a", SAMPLES) == once
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == first


def test_info_goes_through_json() -> None:
    info = ShardInfo("a", 2, 10240, "0" * 64, ())
    assert ShardInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info


@given(
    st.lists(
        st.builds(
            ShardSample,
            key=st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True).filter(lambda key: not key.startswith("__")),
            image=st.binary(max_size=1300),
            image_ext=st.just("webp"),
            caption=st.text(max_size=50),
            record=st.just(b"{}"),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda sample: sample.key,
    )
)
@settings(max_examples=40, deadline=None)
def test_any_samples_come_back(tmp_path_factory: pytest.TempPathFactory, samples: list[ShardSample]) -> None:
    folder = tmp_path_factory.mktemp("shard")
    write_shard(folder / "a", samples)
    with tarfile.open(folder / "a.tar") as tar:
        content = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    for sample in samples:
        assert content[f"{sample.key}.webp"] == sample.image
        assert content[f"{sample.key}.txt"].decode() == sample.caption
    assert (folder / "a.idx").read_bytes() == wds2idx(folder / "a.tar")
    assert (folder / "a.tar.idx").read_bytes() == energon(folder / "a.tar")


@pytest.mark.parametrize(
    ("samples", "what"),
    [
        ([], "no samples"),
        ([SAMPLES[0], SAMPLES[1], SAMPLES[0]], "twice"),
        ([SAMPLES[0], SAMPLES[1]._replace(image_ext="png")], "image extension 'png'"),
        ([SAMPLES[0]._replace(image_ext="JPG")], "image extension 'JPG'"),
        ([SAMPLES[0]._replace(key="a.b")], "sample key"),
    ],
)
def test_bad_samples_publish_nothing(tmp_path: Path, samples: list[ShardSample], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        write_shard(tmp_path / "a", samples)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.b", "a b", "ä"])
def test_bad_shard_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="shard name"):
        write_shard(tmp_path / name, SAMPLES)


@pytest.mark.parametrize("key", ["", "a.b", "a b", "a/b", "ä", "__meta__", "a\n", "a" * 96])
def test_bad_keys(key: str) -> None:
    with pytest.raises(ValueError, match="sample key"):
        check_key(key)


def test_half_a_surrogate_pair_does_not_stop_the_job(tmp_path: Path) -> None:
    write_shard(tmp_path / "a", [SAMPLES[0]._replace(caption="x\ud83d")])
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.extractfile(tar.getmembers()[1]).read() == b"x?"  # type: ignore[union-attr]

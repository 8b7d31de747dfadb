from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.quick_scan import quick_scan, uid_in
from pairmill.sharding.shard_source import read_sample, walked

Member = tuple[str, bytes]
MEMBERS = [("a.jpg", b"x" * 700), ("a.json", b'{"uid": "u1"}'), ("b.jpg", b""), ("b.cls.txt", b"y" * 512)]


def write(path: Path, members: list[Member], format: int = tarfile.USTAR_FORMAT, mtime: float = 0) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime  # type: ignore[assignment]
            archive.addfile(info, io.BytesIO(data))
    return path


@given(
    st.lists(st.lists(st.binary(max_size=1300), min_size=1, max_size=4), max_size=6),
    st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from([0, 1.5]),
)
def test_it_sees_what_the_long_way_sees(
    tmp_path_factory: pytest.TempPathFactory, samples: list[list[bytes]], format: int, mtime: float
) -> None:
    path = tmp_path_factory.mktemp("any") / "some.tar"
    members = [(f"k{i}.e{j}", data) for i, sample in enumerate(samples) for j, data in enumerate(sample)]
    write(path, members, format, mtime)
    scan = quick_scan(path)
    assert scan is not None
    assert scan.keys == [f"k{i}" for i in range(len(samples))]
    with open(path, "rb") as file:
        for places in (scan.places, walked(path)):
            found = [read_sample(file.fileno(), path, start, end) for start, end in places.tolist()]
            assert [(s.key, [bytes(data) for _, data in s.members]) for s in found] == [
                (f"k{i}", sample) for i, sample in enumerate(samples)
            ]


def test_uids_of_the_json_members(tmp_path: Path) -> None:
    scan = quick_scan(write(tmp_path / "a.tar", MEMBERS), uids=True)
    assert scan is not None
    assert (scan.keys, scan.uids) == (["a", "b"], ["u1", None])
    assert [uid_in(text) for text in (b"[]", b"{", b'{"uid": 7}', b'{"uid": null}', b"[" * 9999)] == [
        None, None, "7", None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "members",
    [
        [*MEMBERS, MEMBERS[0]],  # a key that comes back
        [MEMBERS[0], MEMBERS[0]],  # a member twice
        [("folder/a.jpg", b"")],
        [("noextension", b"")],
        [("__index__.x", b"")],
        [(f"{'n' * 120}.jpg", b"")],
        [("größe.jpg", b"")],
        [("a.b/c.jpg", b"")],
        [(".jpg", b"")],
    ],
)
def test_others_take_the_long_way(tmp_path: Path, members: list[Member]) -> None:
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        assert quick_scan(write(tmp_path / "a.tar", members, format)) is None


@pytest.mark.parametrize("cut", [0, 100, 512, 1500, 3000, -600, -10240 + 512])
def test_damage_takes_the_long_way(tmp_path: Path, cut: int) -> None:
    data = write(tmp_path / "a.tar", [(f"k{i}.jpg", b"z" * 3000) for i in range(3)]).read_bytes()
    data = data[: 3 * 3584 + 512] if cut == -600 else data  # one zero block where two end a tar
    (tmp_path / "a.tar").write_bytes(data if cut == -600 else data[:cut])
    assert quick_scan(tmp_path / "a.tar") is None
    (tmp_path / "a.tar").write_bytes(b"z" * 20480)
    assert quick_scan(tmp_path / "a.tar") is None


@pytest.mark.parametrize("place", [50, 136, 512 + 1024 + 140])
def test_a_flipped_byte_in_any_header_takes_the_long_way(tmp_path: Path, place: int) -> None:
    data = bytearray(write(tmp_path / "a.tar", MEMBERS).read_bytes())
    data[place] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    assert quick_scan(tmp_path / "a.tar") is None


def test_two_tars_run_together_take_the_long_way(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", MEMBERS)
    path.write_bytes(path.read_bytes() * 2)
    assert quick_scan(path) is None


def test_links_take_the_long_way(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    assert quick_scan(tmp_path / "a.tar") is None

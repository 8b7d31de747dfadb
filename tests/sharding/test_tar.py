from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding.publish import HashingWriter
from pairmill.sharding.tar import MAX_MEMBER_BYTES, DamagedTarError, TarAppender, TarMember, member_header, walk_tar

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100).filter(
    lambda name: not name.endswith("/")
)


def make_tar(path: Path, members: list[tuple[str, bytes]], format: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def by_tarfile(path: Path) -> list[TarMember]:
    with tarfile.open(path) as tar:
        return [TarMember(m.name, m.offset, m.offset_data, m.size, m.type.decode()) for m in tar]


@given(name=NAMES, size=st.integers(0, MAX_MEMBER_BYTES))
@settings(max_examples=300, deadline=None)
def test_header_equals_tarfile(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o444
    assert member_header(name, size) == info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize("name", ["", "a" * 101, "a b.jpg", "ä.jpg", "a\0.jpg"])
def test_header_refuses_names_that_readers_break_on(name: str) -> None:
    with pytest.raises(ValueError, match="member name"):
        member_header(name, 1)


def test_header_refuses_sizes_beyond_the_format() -> None:
    with pytest.raises(ValueError, match="at most"):
        member_header("a", MAX_MEMBER_BYTES + 1)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_appended_tar_equals_tarfile(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes]]
) -> None:
    sink = io.BytesIO()
    tar = TarAppender(sink)
    offsets = [tar.add(name, data) for name, data in members]
    end = tar.close()
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as other:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o444
            other.addfile(info, io.BytesIO(data))
        assert other.offset == end
    content = sink.getvalue()
    assert content == expected.getvalue()
    assert tar.position == len(content)
    assert [content[offset : offset + len(data)] for offset, (_, data) in zip(offsets, members, strict=True)] == [
        data for _, data in members
    ]
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    path.write_bytes(content)
    walked = list(walk_tar(path))
    assert [(m.name, m.data_offset, m.size) for m in walked] == [
        (name, offset, len(data)) for offset, (name, data) in zip(offsets, members, strict=True)
    ]


def test_appender_takes_memoryviews_and_names_without_extension() -> None:
    sink = io.BytesIO()
    writer = HashingWriter(sink, buffer_bytes=700)
    tar = TarAppender(writer)
    data = memoryview(b"0123456789" * 100)[5:905]
    offset = tar.add(f"{17:04x}", data)
    tar.close()
    writer.flush()
    assert sink.getvalue()[offset : offset + 900] == bytes(data)
    assert writer.bytes_written == len(sink.getvalue()) == tar.position


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_walk_agrees_with_tarfile_on_long_names(tmp_path: Path, format: int) -> None:
    deep = "/".join(["folder" * 5] * 3) + "/000.jpg"
    members = [("a.jpg", b"1" * 513), (deep, b"22"), ("b.txt", b""), ("c" * 90 + ".jpg", b"3")]
    if format != tarfile.USTAR_FORMAT:
        members += [("x" * 300 + ".jpg", b"4" * 5000), ("schön.txt", b"5"), ("last", b"6")]
    path = make_tar(tmp_path / "a.tar", members, format)
    assert list(walk_tar(path)) == by_tarfile(path)


def test_walk_knows_every_type_and_skips_no_data_it_should_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, type in [
            ("d", tarfile.DIRTYPE),
            ("s", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("c", tarfile.CHRTYPE),
            ("b", tarfile.BLKTYPE),
            ("f", tarfile.FIFOTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("last.txt")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    walked = list(walk_tar(path))
    assert walked == by_tarfile(path)
    assert [m.type for m in walked] == ["5", "2", "1", "3", "4", "6", "0"]


def test_walk_reads_sizes_beyond_octal(tmp_path: Path) -> None:
    info = tarfile.TarInfo("big")
    info.size = 9 * 2**30
    path = tmp_path / "a.tar"
    with open(path, "wb") as file:  # a sparse file: nine gigabytes of hole
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + info.size + 10240)
    (member,) = walk_tar(path)
    assert (member.size, member.data_offset) == (info.size, 512)


def damaged(path: Path) -> DamagedTarError:
    with pytest.raises(DamagedTarError) as caught:
        list(walk_tar(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return caught.value


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return make_tar(tmp_path / "good.tar", [("a.jpg", b"1" * 2000), ("a.txt", b"two"), ("b.jpg", b"3" * 700)])


@pytest.mark.parametrize(
    ("size", "what"),
    [
        (0, "empty"),
        (100, "middle of a header"),
        (512 + 1500, "'a.jpg' has 2000 bytes, the file ends after 1500"),
        (512 + 2048, "without the two zero blocks"),
        (512 + 2048 + 512 + 3, "truncated: 'a.txt'"),  # the data is there, its padding is not
        (512 + 2048 + 1024 + 512 + 1024, "without the two zero blocks"),
        (512 + 2048 + 1024 + 512 + 1024 + 512, "one zero block"),
    ],
)
def test_truncated(good: Path, size: int, what: str) -> None:
    with open(good, "r+b") as file:
        file.truncate(size)
    assert what in damaged(good).what


@given(size=st.integers(0, 512 + 2048 + 1024 + 512 + 1024 + 1023))
@settings(max_examples=60, deadline=None)
def test_no_truncation_goes_unseen(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path = make_tar(
        tmp_path_factory.mktemp("cut") / "a.tar", [("a.jpg", b"1" * 2000), ("a.txt", b"two"), ("b.jpg", b"3" * 700)]
    )
    with open(path, "r+b") as file:
        file.truncate(size)
    assert damaged(path).what


def test_wrong_checksum_after_good_members(good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[2560] ^= 1  # in the name of a.txt
    good.write_bytes(content)
    walk = walk_tar(good)
    assert next(walk).name == "a.jpg"
    with pytest.raises(DamagedTarError) as caught:
        next(walk)
    assert caught.value.offset == 2560
    assert "checksum" in caught.value.what


def test_two_tars_run_together(good: Path) -> None:
    good.write_bytes(good.read_bytes() * 2)
    assert "follows the end" in damaged(good).what


def test_not_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"<html>" * 500)
    assert "not a tar" in damaged(path).what
    path.write_bytes(b"\x1f\x8b\x08" + bytes(2000))
    assert "compressed" in damaged(path).what


def raw(kind: bytes = b"0", size: bytes | None = None, data: bytes = b"") -> bytes:
    """A member with its type or its size field overwritten and the checksum set right."""
    header = bytearray(member_header("evil", len(data)))
    header[156:157] = kind
    if size is not None:
        header[124:136] = size
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (raw(size=b"\xff" * 12), "not a number"),
        (raw(size=b"-0000000001\0"), "not a number"),
        (raw(size=b"0o77777777 \0"), "not a number"),
        (raw(size=b"\x80" + b"\xff" * 11), "truncated"),
        (raw(b"L", size=b"77777777777\0"), "long name or PAX header of"),
        (raw(b"x", data=b"9999999 path=a\n"), "PAX header that cannot be read"),
        (raw(b"x", data=b"nonsense"), "PAX header that cannot be read"),
        (raw(b"x", data=b"0 path=a\n"), "PAX header that cannot be read"),
        (raw(b"x", data=b"12 size=-12\n") + raw(), "PAX size"),
        (raw(b"L", data=b"name\0"), "followed by no member"),
        (raw(b"S"), "sparse"),
    ],
)
def test_hostile_headers(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content + bytes(10240))
    assert what in damaged(path).what


@given(st.binary(max_size=600), st.integers(0, 4000))
@settings(max_examples=100, deadline=None)
def test_noise_never_crashes_the_walk(tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int) -> None:
    folder = tmp_path_factory.mktemp("noise")
    path = make_tar(folder / "a.tar", [("n" * 150, b"1" * 2000), ("schön", b"2")], tarfile.PAX_FORMAT)
    content = bytearray(path.read_bytes())
    content[place : place + len(noise)] = noise
    path.write_bytes(content)
    try:
        members = list(walk_tar(path))
    except DamagedTarError:
        return
    assert all(m.data_offset + m.size <= len(content) for m in members)


def test_special_files_are_refused_at_once(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.tar")
    assert "regular file" in damaged(tmp_path / "pipe.tar").what
    assert "regular file" in damaged(tmp_path).what


def test_damage_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DamagedTarError("a.tar", 5, "broken")))
    assert (error.path, error.offset, error.what, str(error)) == ("a.tar", 5, "broken", "a.tar: at byte 5: broken")

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import polars as pl
import pytest

from pairmill.sharding.pair import pair_uid
from pairmill.transforms.pool.plan import plan_segments
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.spec import PoolError, PoolSpec


def write_tar(path: Path, members: list[tuple[str, bytes]], form: int = tarfile.USTAR_FORMAT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def read(path: Path, **options: object) -> pl.DataFrame:
    spec = PoolSpec(str(path), **options)  # type: ignore[arg-type]
    return pl.concat([b for s in plan_segments(spec) for b in read_segment(spec, s)])


def as_json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_samples_of_every_kind(tmp_path: Path) -> None:
    members = [
        ("a.jpg", b"1"),
        ("a.txt", b"from txt"),
        ("a.json", as_json(caption="from json", url="http://a", score=0.5, width=3, uid="AB")),
        ("b.json", as_json(caption="from json", score=2)),
        ("b.PNG", b"22"),
        ("c.txt", b"no image"),
        ("d.jpg", b"333"),
        ("d.json", b"{broken"),
        ("e.webp", b"4444"),
        ("e.txt", b"caf\xe9"),
        ("f.jpg", b"55555"),
        ("f.txt", b""),
        ("f.json", as_json(caption=None, key="000", tags=["x"])),
        ("__meta__.json", b"{}"),
        ("g.jpg", b"6"),
        ("g.jpg", b"7"),
        ("._h.jpg", b"8"),
    ]
    write_tar(tmp_path / "sub" / "00000.tar", members)
    got = read(tmp_path, block_rows=3)
    assert got["pool_key"].to_list() == ["a", "b", "c", "d", "e", "f", "g", "g"]
    assert got["row_error"].to_list() == [None, None, "no_image", "bad_json", "not_utf8", None, None, None]
    assert got["caption"].to_list() == ["from txt", "from json", "no image", None, None, None, None, None]
    assert got["path"].unique().to_list() == ["sub/00000.tar"]
    assert got["url"].to_list() == ["http://a"] + [None] * 7
    raw = (tmp_path / "sub" / "00000.tar").read_bytes()
    images = [raw[o : o + n] if o is not None else None for o, n in got.select("tar_offset", "tar_bytes").rows()]
    assert images == [b"1", b"22", None, b"333", b"4444", b"55555", b"6", b"7"]
    assert got["score"].to_list()[:2] == [0.5, 2.0]
    assert got["tags"].to_list()[5] == '["x"]'
    assert got["uid"].to_list()[:2] == ["ab".zfill(32), pair_uid("sub/00000.tar/b", "from json")]
    assert "width" not in got.columns
    assert got["other_fields"].null_count() == 8


def test_keys_in_folders_and_long_names(tmp_path: Path) -> None:
    long = "x" * 150
    members = [(f"./{d}/{long}.{e}", b"z") for d in ("one", "two") for e in ("jpg", "txt")]
    write_tar(tmp_path / "a.tar", members, tarfile.GNU_FORMAT)
    write_tar(tmp_path / "b.tar", members, tarfile.PAX_FORMAT)
    got = read(tmp_path)
    assert got["pool_key"].to_list() == [f"one/{long}", f"two/{long}"] * 2
    assert got["caption"].to_list() == ["z"] * 4
    assert [(s.file, s.first_block) for s in plan_segments(PoolSpec(str(tmp_path)))] == [(0, 0), (1, 0)]


@pytest.mark.parametrize("cut", [100, 600, 1536, 3000])
def test_a_truncated_tar_is_an_error_that_names_it(tmp_path: Path, cut: int) -> None:
    write_tar(tmp_path / "a.tar", [(f"{i}.{e}", b"z" * 700) for i in range(3) for e in ("jpg", "txt")])
    raw = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(raw[:cut])
    with pytest.raises(PoolError, match=r"a\.tar"):
        read(tmp_path)


def test_a_tar_that_is_cut_between_members_is_not_whole(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [(f"{i}.jpg", b"z" * 512) for i in range(3)])
    raw = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(raw[: 2 * 1024])
    with pytest.raises(PoolError, match="ends in the middle"):
        read(tmp_path)

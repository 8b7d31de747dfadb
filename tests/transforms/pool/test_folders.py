from __future__ import annotations

import pickle
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding.pair import pair_uid
from pairmill.transforms.pool.folders import TextTally, is_image
from pairmill.transforms.pool.listing import walk
from pairmill.transforms.pool.plan import plan_segments, pool_identity
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.spec import PoolError, PoolSpec


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"pixels")


def read(root: Path, **options: object) -> pl.DataFrame:
    spec = PoolSpec(str(root), **options)  # type: ignore[arg-type]
    return pl.concat([b for s in plan_segments(spec) for b in read_segment(spec, s)])


def test_images_at_any_depth_with_and_without_captions(tmp_path: Path) -> None:
    lay(tmp_path, "b.jpg", "a/2.PNG", "a/1.jpeg", "a/1.webp", "a/c/d.jpg", "notes.md", ".hidden.jpg", "a-b/x.jpg")
    (tmp_path / "a/1.txt").write_text("two\nlines\n")
    (tmp_path / "a/2.txt").write_bytes(b"\xef\xbb\xbfcaf\xc3\xa9\r\n")
    (tmp_path / "a/c/d.txt").write_bytes(b"caf\xe9")
    (tmp_path / "b.txt").write_text("\n")
    (tmp_path / "lonely.txt").write_text("no image")
    (tmp_path / "a/3.b.txt").write_text("no image either")
    got = read(tmp_path)
    paths = ["a/1.jpeg", "a/1.webp", "a/2.PNG", "a/c/d.jpg", "a-b/x.jpg", "b.jpg"]
    captions = ["two\nlines", "two\nlines", "café", None, None, None]
    assert got["path"].to_list() == paths
    assert got["caption"].to_list() == captions
    assert got["row_error"].to_list() == [None, None, None, "not_utf8", None, None]
    assert got["uid"].to_list() == [pair_uid(p, c) for p, c in zip(paths, captions, strict=True)]
    assert got["url"].null_count() == got["tar_offset"].null_count() == 6
    assert sum(s.unpaired_texts for s in plan_segments(PoolSpec(str(tmp_path)))) == 2


@pytest.mark.parametrize("block_rows", [1, 2, 3])
def test_segments_of_a_folder_part_it(tmp_path: Path, block_rows: int) -> None:
    names = [f"{d}/{i:02d}.jpg" for d in ("a", "a/b", "a b", "c") for i in range(20)]
    lay(tmp_path, *names, "a/zz.txt", "c/00.txt")
    spec = PoolSpec(str(tmp_path), block_rows=block_rows)
    segments = plan_segments(spec)
    assert pickle.loads(pickle.dumps(segments)) == segments
    parts = [pl.concat(list(read_segment(spec, s))) for s in segments]
    assert [p.height for p in parts] == [s.rows for s in segments]
    assert all(p.height == 16 * block_rows for p in parts[:-1])
    expected = sorted(names, key=lambda n: n.split("/"))
    assert pl.concat(parts)["path"].to_list() == expected
    assert sum(s.unpaired_texts for s in segments) == 1
    assert [s.first_block for s in segments] == [16 * number for number in range(len(segments))]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    lay(tmp_path / "elsewhere", "1.jpg")
    lay(tmp_path / "pool", "0.jpg")
    (tmp_path / "pool" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pool" / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert read(tmp_path / "pool")["path"].to_list() == ["0.jpg", "link/1.jpg"]


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(PoolError, match="no file that can be a pool"):
        plan_segments(PoolSpec(str(tmp_path)))
    with pytest.raises(PoolError, match="no rows"):
        plan_segments(PoolSpec(str(tmp_path), format="files"))


def test_a_file_name_that_is_no_utf8(tmp_path: Path) -> None:
    try:
        (tmp_path / "caf\udce9.jpg").write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    lay(tmp_path, "a.jpg")
    got = read(tmp_path)
    assert got["row_error"].to_list() == [None, "not_utf8"]
    assert got["path"].to_list() == ["a.jpg", None]
    spec = PoolSpec(str(tmp_path))
    assert len(pool_identity(spec, plan_segments(spec))) == 32


def test_image_root_is_for_tables(tmp_path: Path) -> None:
    lay(tmp_path, "a.jpg")
    with pytest.raises(PoolError, match="image_root is for tables"):
        plan_segments(PoolSpec(str(tmp_path), image_root="/x"))


def test_identity_sees_names_and_sizes(tmp_path: Path) -> None:
    def identity() -> str:
        spec = PoolSpec(str(tmp_path))
        return pool_identity(spec, plan_segments(spec))

    lay(tmp_path, "a.jpg", "b.jpg")
    first = identity()
    assert identity() == first
    (tmp_path / "a.txt").write_text("caption")
    second = identity()
    assert second != first
    (tmp_path / "a.txt").write_text("captions")
    assert identity() != second


names = st.lists(st.lists(st.sampled_from(["a", "b", "a.b", "a-b"]), min_size=1, max_size=3), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(parts=names, ends=st.lists(st.sampled_from([".jpg", ".txt", ".JPG"]), min_size=12, max_size=12), data=st.data())
def test_walking_a_range_gives_that_range(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]], ends: list[str], data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("walk")
    files = {"/".join(p) + end for p, end in zip(parts, ends, strict=False)}
    lay(root, *files)
    ordered = sorted(files, key=lambda n: n.split("/"))
    assert [f.name for f in walk(root)] == ordered
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(ordered) - 1)] * 2)))
    assert [f.name for f in walk(root, ordered[first], ordered[last])] == ordered[first : last + 1]
    tally = TextTally()
    for name in ordered:
        tally.add(name)
    tally.end()
    stems = {n.rpartition(".")[0] for n in files if is_image(n)}
    assert tally.take() == sum(n.endswith(".txt") and n[:-4] not in stems for n in files)

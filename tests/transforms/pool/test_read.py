"""Tables through plan and read: every row once, in order, in blocks of one schema."""

from __future__ import annotations

import gzip
import json
import pickle
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairmill.sharding.pair import POOL_COLUMNS, pair_uid
from pairmill.transforms.pool import parquet, plan
from pairmill.transforms.pool.plan import plan_segments, pool_identity
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.schema import MARK_COLUMNS, block_schema
from pairmill.transforms.pool.spec import PoolError, PoolSpec, pool_root


def blocks_of(path: Path, **options: object) -> list[pl.DataFrame]:
    spec = PoolSpec(str(path), **options)  # type: ignore[arg-type]
    return [b for s in plan_segments(spec) for b in read_segment(spec, s)]


def read(path: Path, **options: object) -> pl.DataFrame:
    return pl.concat(blocks_of(path, **options))


def table(rows: int, start: int = 0) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "url": [f"http://a/{i}" for i in range(start, start + rows)],
            "caption": [None if i % 5 == 0 else f"line {i}\nsecond" for i in range(start, start + rows)],
            "n": list(range(start, start + rows)),
            "boxes": [[float(i)] * (i % 3) for i in range(start, start + rows)],
        },
        schema_overrides={"boxes": pl.List(pl.Float64)},
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=3).filter(any),
    group=st.integers(1, 40),
    block_rows=st.integers(1, 30),
    kind=st.sampled_from(["parquet", "jsonl", "csv"]),
)
def test_blocks_together_are_the_table(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], group: int, block_rows: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("pool")
    whole = table(sum(sizes))
    start = 0
    for i, size in enumerate(sizes):
        part = whole[start : start + size]
        start += size
        if kind == "parquet":
            part.write_parquet(folder / f"{i}.parquet", row_group_size=group)
        elif kind == "jsonl":
            part.write_ndjson(folder / f"{i}.jsonl")
        else:
            part.drop("boxes").write_csv(folder / f"{i}.csv")
    spec = PoolSpec(str(folder), block_rows=block_rows, dtypes={"n": "int"})
    segments = plan_segments(spec)
    got = []
    for segment in segments:
        blocks = list(read_segment(spec, segment))
        assert [b.height for b in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
        assert all(0 < b.height <= block_rows for b in blocks)
        assert all(dict(b.schema) == block_schema(segment.columns) for b in blocks)
        if segment.rows is not None:
            assert sum(b.height for b in blocks) == segment.rows
        got += blocks
    result = pl.concat(got)
    assert result.select("url", "caption", "n").equals(whole.select("url", "caption", "n"))
    if kind != "csv":
        assert [json.loads(b) for b in result["boxes"]] == whole["boxes"].to_list()
    numbers = [(s.file, s.first_block) for s in segments]
    assert numbers == sorted(set(numbers))


def test_schema_begins_with_the_agreed_columns(tmp_path: Path) -> None:
    table(3).write_parquet(tmp_path / "a.parquet")
    got = read(tmp_path)
    assert dict(list(got.schema.items())[:8]) == {**POOL_COLUMNS, **MARK_COLUMNS}
    assert got.columns[8:] == ["n", "boxes"]
    assert got["boxes"].to_list() == ["[]", "[1.0]", "[2.0,2.0]"]


def test_row_groups_are_gathered_to_sixteen_blocks(tmp_path: Path) -> None:
    table(1000).write_parquet(tmp_path / "a.parquet", row_group_size=10)
    segments = plan_segments(PoolSpec(str(tmp_path), block_rows=5))
    assert [s.rows for s in segments] == [80] * 12 + [40]
    assert [(s.start, s.stop) for s in segments][:2] == [(0, 8), (8, 16)]
    assert [s.first_row for s in segments][:3] == [0, 80, 160]
    assert pickle.loads(pickle.dumps(segments)) == segments
    assert all(len(pickle.dumps(s)) < 2_000 for s in segments)


def test_a_huge_row_group_is_read_in_small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(50_000).write_parquet(tmp_path / "a.parquet", row_group_size=50_000)
    heights = []
    plain = parquet.parquet_frames

    def watched(*args: object) -> object:
        for frame in plain(*args):  # type: ignore[arg-type]
            heights.append(frame.height)
            yield frame

    monkeypatch.setattr("pairmill.transforms.pool.read.parquet_frames", watched)
    spec = PoolSpec(str(tmp_path), block_rows=1_000)
    (segment,) = plan_segments(spec)
    blocks = read_segment(spec, segment)
    assert next(blocks).height == 1_000
    assert len(heights) <= 2, "the first block must not wait for the rest of the row group"
    assert sum(b.height for b in blocks) == 49_000
    assert max(heights) <= 1_000


def test_a_file_of_lines_is_read_as_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as out:
        out.writelines(f'{{"url": "http://a/{i}", "caption": "x"}}\n' for i in range(5_000))
    spec = PoolSpec(str(tmp_path), block_rows=100)
    (segment,) = plan_segments(spec)
    seen = []
    plain = plan.jsonl_records
    monkeypatch.setattr(
        "pairmill.transforms.pool.read.jsonl_records", lambda path: (seen.append(0) or r for r in plain(path))
    )
    blocks = read_segment(spec, segment)
    next(blocks)
    assert len(seen) <= 200
    assert sum(b.height for b in blocks) == 4_900


def test_only_wanted_columns_are_read_and_passed(tmp_path: Path) -> None:
    table(3).with_columns(a=1, b=2, image=pl.lit(b"bytes")).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path).columns[8:] == ["n", "boxes", "a", "b"], "image bytes do not travel in tables"
    assert read(tmp_path, keep_columns=("b", "n")).columns[8:] == ["n", "b"]
    assert read(tmp_path, keep_columns=()).columns[8:] == []
    with pytest.raises(PoolError, match="keep_columns names 'c'"):
        read(tmp_path, keep_columns=("c",))


def test_column_map_and_names_of_ours(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"src": ["http://a/1"], "url": ["http://page"], "alt": ["x"], "width": [5], "phash": ["f"], "s": [1]}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    got = read(tmp_path, columns={"url": "src", "caption": "alt", "source": "s"})
    assert got.select("url", "caption", "pool_url", "pool_width", "pool_phash", "source").rows() == [
        ("http://a/1", "x", "http://page", 5, "f", 1)
    ]
    assert got.columns == [*POOL_COLUMNS, *MARK_COLUMNS, "pool_url", "pool_width", "pool_phash", "source"]
    assert read(tmp_path, columns={"caption": ""})["caption"].to_list() == [None]
    frame.with_columns(pool_width=1).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(PoolError, match="two columns would be called 'pool_width'"):
        read(tmp_path, columns={"caption": "alt"})


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"URL": ["u"], "TEXT": ["t"]}, {}, r"no column 'caption'; it has TEXT, URL; say pool columns"),
        ({"URL": ["u"], "caption": ["t"]}, {}, r"no column 'url' or 'path'; it has URL, caption"),
        ({"url": ["u"], "caption": ["t"]}, {"columns": {"caption": "alt"}}, r"no column 'alt'"),
        ({"url": ["u"], "caption": ["t"]}, {"columns": {"source": "site"}}, r"no column 'site'"),
        ({"url": ["u"], "caption": [["t"]]}, {}, r"column 'caption' is List\(String\), but caption needs text"),
        ({"url": ["u"], "caption": ["t"], "uid": [5]}, {}, r"column 'uid' is Int64, but uid needs text"),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_wrong_column_is_one_clear_line(
    tmp_path: Path, columns: dict[str, list[object]], options: dict[str, object], said: str, kind: str
) -> None:
    path = tmp_path / f"pool.{kind}"
    frame = pl.DataFrame(columns)
    frame.write_parquet(path) if kind == "parquet" else frame.write_ndjson(path)
    with pytest.raises(PoolError, match=said) as caught:
        read(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_uids(tmp_path: Path) -> None:
    uids = ["ABC", "0" * 31 + "1", None, "xyz", "f" * 33, "abc"]
    frame = pl.DataFrame({"uid": uids, "url": [f"http://a/{i}" for i in range(6)], "caption": ["c"] * 6})
    frame.write_parquet(tmp_path / "a.parquet")
    got = read(tmp_path)
    made = [pair_uid(f"http://a/{i}", "c") for i in range(6)]
    padded = "0" * 29 + "abc"
    assert got["uid"].to_list() == [padded, "0" * 31 + "1", made[2], made[3], made[4], padded]
    assert got["row_error"].to_list() == [None, None, None, "bad_uid", "bad_uid", None]
    rekeyed = read(tmp_path, rekey=True)
    assert rekeyed["uid"].to_list() == made
    assert rekeyed["pool_uid"].to_list() == uids
    assert rekeyed["row_error"].null_count() == 6


def test_repeated_rows_stay_rows_with_one_uid(tmp_path: Path) -> None:
    pl.DataFrame({"url": ["http://a"] * 3, "caption": ["c", "c", None]}).write_parquet(tmp_path / "a.parquet")
    got = read(tmp_path)
    assert got["uid"].to_list() == [pair_uid("http://a", "c")] * 2 + [pair_uid("http://a", None)]


def test_paths_of_a_table(tmp_path: Path) -> None:
    paths = ["a/1.jpg", "/etc/passwd", "../x.jpg", "a/../../x", "b..c/d.jpg", " ", None, "a/.."]
    pl.DataFrame({"path": paths, "caption": ["c"] * 8}).write_csv(tmp_path / "a.csv")
    got = read(tmp_path)
    outside = "path_outside_pool"
    assert got["row_error"].to_list() == [None, outside, outside, outside, None, None, "no_url", outside]
    assert got["uid"][0] == pair_uid("a/1.jpg", "c")


@pytest.mark.real_data
def test_a_table_of_images_on_disk(shared_data: Path) -> None:
    spec = PoolSpec(str(shared_data / "clothing" / "labels.parquet"), columns={"path": "file", "caption": ""})
    got = pl.concat([b for s in plan_segments(spec) for b in read_segment(spec, s)])
    assert got["row_error"].null_count() == got["caption"].null_count() == got.height == 1000
    assert got["uid"].n_unique() == 1000
    assert got["label"].n_unique() > 5
    assert all((pool_root(spec) / p).is_file() for p in got["path"])


def test_types_of_several_files_are_joined(tmp_path: Path) -> None:
    one = {"url": ["http://a"], "caption": ["c"]}
    pl.DataFrame({**one, "a": [1], "b": [1.5], "c": ["x"], "d": [None]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({**one, "a": [0.5], "b": ["y"], "d": [True], "e": [2]}).write_parquet(tmp_path / "2.parquet")
    blocks = blocks_of(tmp_path)
    assert blocks[0].schema == blocks[1].schema
    got = pl.concat(blocks)
    assert got.select("a", "b", "c", "d", "e").rows() == [(1.0, "1.5", "x", None, None), (0.5, "y", None, "true", 2)]


def test_types_are_kept(tmp_path: Path) -> None:
    arrow = pa.table(
        {
            "url": ["http://a"],
            "caption": pa.array(["c"]).dictionary_encode(),
            "when": pa.array([5], pa.timestamp("us", "UTC")),
            "small": pa.array([0.5], pa.float32()),
            "count": pa.array([7], pa.uint8()),
            "nested": [{"k": [1, "é"][:1]}],
        }
    )
    pq.write_table(arrow, tmp_path / "a.parquet")
    got = read(tmp_path)
    assert got.schema["when"] == pl.Datetime("us", "UTC")
    assert got.schema["small"] == pl.Float32
    assert got.schema["count"] == pl.UInt8
    assert got["nested"].to_list() == ['{"k":[1]}']
    assert got["caption"].to_list() == ["c"]


def test_json_lines_of_every_kind(tmp_path: Path) -> None:
    lines = [
        b'{"url": "http://a/1", "caption": "a\\nb", "score": 1, "tags": ["x"], "ok": true}',
        b'{"url": "http://a/2", "score": 2.5}',
        b"",
        b"not json",
        b'["a", "list"]',
        b'{"url": "http://a/3", "caption": "caf\xe9"}',
        b'{"url": "http://a/4", "caption": "lone \\ud800", "score": "high", "late": 1}',
        b'{"url": 7, "caption": 8}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    got = read(tmp_path, dtypes={"score": "float"}, block_rows=3)
    assert got["row_error"].to_list() == [None, None, "bad_json", "bad_json", "not_utf8", None, "no_url"]
    assert got["caption"].to_list() == ["a\nb", None, None, None, None, "lone \ufffd", "8"]
    assert got["score"].to_list() == [1.0, 2.5, None, None, None, None, None]
    assert got["tags"].to_list()[:2] == ['["x"]', None]
    assert got["ok"].to_list()[:2] == [True, None]
    assert got["late"].to_list()[5] == 1
    assert got["other_fields"].to_list() == [None] * 5 + ['{"score":"high"}', '{"url":7}']


def test_fields_that_come_late_are_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pairmill.transforms.pool.records.SAMPLE_ROWS", 2)
    rows = [{"url": f"http://a/{i}", "caption": "c"} | ({"late": i} if i == 3 else {}) for i in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert read(tmp_path)["other_fields"].to_list() == [None, None, None, '{"late":3}', None]
    assert read(tmp_path, keep_columns=())["other_fields"].null_count() == 5
    assert read(tmp_path, keep_columns=("late",))["late"].to_list() == [None, None, None, "3", None]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1 but not really", "not a readable parquet file"),
        ("a.parquet", b"", "not a readable parquet file"),
        ("a.json", b'{"url": 1}\n{"url": 2}', "say pool format: jsonl"),
        ("a.json", b'"text"', "neither a list of rows"),
        ("a.jsonl", b"nothing\nhere\n", "hold no JSON object"),
        ("a.jsonl", b"", "no rows"),
        ("a.xyz", b"", "cannot tell the format"),
        ("a.tar", b"x" * 600, "not a readable tar"),
    ],
)
def test_files_that_are_no_pool(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PoolError, match=said) as caught:
        read(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_is_an_error_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table(5_000).write_parquet(path, compression="zstd")
    raw = bytearray(path.read_bytes())
    raw[200:4000] = b"\xff" * 3800
    path.write_bytes(raw)
    with pytest.raises(PoolError, match=r"a\.parquet: is damaged"):
        read(path)


def test_missing_and_unclear_pools(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="no such pool"):
        plan_segments(PoolSpec(str(tmp_path / "none")))
    with pytest.raises(PoolError, match="no file that can be a pool"):
        plan_segments(PoolSpec(str(tmp_path)))
    (tmp_path / "a.csv").write_text("url,caption\nhttp://a,b\n")
    (tmp_path / "b.jsonl").write_text('{"url": "http://c", "caption": "d"}\n')
    with pytest.raises(PoolError, match=r"several formats \(1 csv, 1 jsonl\)"):
        plan_segments(PoolSpec(str(tmp_path)))
    assert read(tmp_path, format="jsonl")["url"].to_list() == ["http://c"]
    with pytest.raises(PoolError, match="holds no parquet files"):
        plan_segments(PoolSpec(str(tmp_path), format="parquet"))


def test_files_are_read_in_the_order_of_their_paths_at_any_depth(tmp_path: Path) -> None:
    for name in ("b/2.csv", "a.csv", "b/1/x.csv", "b-1/y.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"url,caption\nhttp://{name},c\n")
    for name in (".hidden.csv", "_temporary/z.txt", "a_stats.json", "_marks.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no pool")
    (tmp_path / "_temporary" / "part.csv").write_text("url,caption\nhttp://unfinished,c\n")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    got = read(tmp_path)["url"].to_list()
    assert got == ["http://a.csv", "http://b/1/x.csv", "http://b/2.csv", "http://b-1/y.csv"]


def test_too_many_blocks_for_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(50).drop("boxes").write_csv(tmp_path / "a.csv")
    (segment,) = plan_segments(PoolSpec(str(tmp_path), block_rows=1))
    with pytest.raises(PoolError, match="use a larger block_rows"):
        list(read_segment(PoolSpec(str(tmp_path), block_rows=1), replace(segment, block_limit=40)))
    monkeypatch.setattr("pairmill.transforms.pool.plan.MAX_BLOCKS_IN_FILE", 40)
    table(50).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(PoolError, match="use a larger block_rows"):
        plan_segments(PoolSpec(str(tmp_path / "b.parquet"), block_rows=1))


def test_misfits_in_some_batches_only(tmp_path: Path) -> None:
    frame = pl.DataFrame({"url": [f"http://a/{i}" for i in range(9)], "caption": "c", "n": [*"1234x6789"]})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=2)
    got = read(tmp_path, dtypes={"n": "int"}, block_rows=4)
    assert got["n"].to_list() == [1, 2, 3, 4, None, 6, 7, 8, 9]
    assert got["other_fields"].to_list() == [None] * 4 + ['{"n":"x"}'] + [None] * 4


def test_identity_is_of_names_sizes_and_spec(tmp_path: Path) -> None:
    def identity(folder: Path, **options: object) -> str:
        spec = PoolSpec(str(folder), **options)  # type: ignore[arg-type]
        return pool_identity(spec, plan_segments(spec))

    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        table(20).write_parquet(tmp_path / folder / "a.parquet")
    first = identity(tmp_path / "one")
    assert identity(tmp_path / "two") == first
    assert identity(tmp_path / "one", block_rows=7) != first
    assert identity(tmp_path / "one", keep_columns=("n",)) != first
    (tmp_path / "two" / "a.parquet").rename(tmp_path / "two" / "b.parquet")
    assert identity(tmp_path / "two") != first
    table(21).write_parquet(tmp_path / "one" / "a.parquet")
    assert identity(tmp_path / "one") != first

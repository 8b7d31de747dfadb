from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding.pair import pair_uid
from pairmill.transforms.pool.delimited import MAX_RECORD_LINES, DelimitedRows, Dialect
from pairmill.transforms.pool.plan import plan_segments
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.spec import PoolError, PoolSpec

COMMA = Dialect(",", quoting=True)


def rows_of(text: bytes, width: int = 2, dialect: Dialect = COMMA) -> list[tuple[list[str] | None, str | None]]:
    return list(DelimitedRows(io.BytesIO(text), width, dialect))


def read(path: Path, **options: object) -> pl.DataFrame:
    spec = PoolSpec(str(path), **options)  # type: ignore[arg-type]
    return pl.concat([b for s in plan_segments(spec) for b in read_segment(spec, s)])


def test_quotes_line_breaks_and_empty_lines() -> None:
    assert rows_of(b'a,"x, ""y""\nz"\r\n\r\nb,c\n') == [(["a", 'x, "y"\nz'], None), (["b", "c"], None)]


def test_a_row_of_another_width_costs_itself_alone() -> None:
    assert rows_of(b"a,b\nc\nd,e,f\ng,h") == [
        (["a", "b"], None),
        (None, "wrong_field_count"),
        (None, "wrong_field_count"),
        (["g", "h"], None),
    ]


def test_an_unclosed_quote_costs_its_own_line_alone() -> None:
    assert rows_of(b'a,"b\nc,d\ne,f\n') == [(None, "bad_quoting"), (["c", "d"], None), (["e", "f"], None)]


def test_a_quote_that_swallowed_rows_gives_them_back() -> None:
    # The quote of the first row is closed by that of the third, which no writer of csv would have left so.
    got = rows_of(b'a,"b\nc,d\ne,"f"\ng,h\n')
    assert got == [(None, "bad_quoting"), (["c", "d"], None), (["e", "f"], None), (["g", "h"], None)]
    assert rows_of(b'"a"b,c\n') == [(["ab", "c"], None)], "on one line a sloppy quote harms nobody"


def test_a_quoted_field_of_too_many_lines_is_an_unclosed_quote() -> None:
    good = b"c,d\n" * (MAX_RECORD_LINES + 5)
    got = rows_of(b'a,"b\n' + good)
    assert got[0] == (None, "bad_quoting")
    assert got[1:] == [(["c", "d"], None)] * (MAX_RECORD_LINES + 5)


def test_other_bytes_cost_one_row() -> None:
    assert rows_of(b"a,caf\xe9\nb,caf\xc3\xa9\n") == [(None, "not_utf8"), (["b", "café"], None)]


def test_without_quoting_a_quote_is_a_letter() -> None:
    tab = Dialect("\t", quoting=False)
    assert rows_of(b'"a\tb"\n\tc\n \n', dialect=tab) == [(['"a', 'b"'], None), (["", "c"], None)]


fields = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(fields, fields), max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_what_csv_writes_comes_back(table: list[tuple[str, str]], end: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(table)
    assert rows_of(out.getvalue().encode()) == [(list(row), None) for row in table]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a,b", "a", '"', 'a,"b', "a,b,c", '"x","y"', ',"', 'é,"']), max_size=12))
def test_every_line_is_part_of_exactly_one_row(lines: list[str]) -> None:
    got = rows_of("".join(f"{line}\n" for line in lines).encode())
    held = sum(1 if f is None else 1 + sum(x.count("\n") for x in f) for f, _ in got)
    assert held == len(lines)


@pytest.mark.parametrize("pack", ["", ".gz", ".zst"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_packed_or_not_with_or_without_byte_order_mark(tmp_path: Path, pack: str, mark: bytes) -> None:
    raw = mark + "url,caption,score\n http://a/1 ,café,1.5\nhttp://a/2,,x\n".encode()
    content = {"": raw, ".gz": gzip.compress(raw), ".zst": zstandard.compress(raw)}[pack]
    (tmp_path / f"pool.csv{pack}").write_bytes(content)
    got = read(tmp_path, dtypes={"score": "float"})
    assert got["url"].to_list() == ["http://a/1", "http://a/2"]
    assert got["caption"].to_list() == ["café", None]
    assert got["score"].to_list() == [1.5, None]
    assert got["other_fields"].to_list() == [None, '{"score":"x"}']
    assert got["uid"].to_list() == [pair_uid("http://a/1", "café"), pair_uid("http://a/2", None)]


def test_several_zstd_frames_are_one_file(tmp_path: Path) -> None:
    parts = [b"url,caption\nhttp://a/1,x\n", b"", b"http://a/2,y\n"]
    (tmp_path / "pool.csv.zst").write_bytes(b"".join(zstandard.compress(p) for p in parts))
    assert read(tmp_path)["caption"].to_list() == ["x", "y"]


@pytest.mark.parametrize("pack", [".gz", ".zst"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, pack: str) -> None:
    raw = b"url,caption\n" + b"".join(b"http://a/%d,%d\n" % (i, i * 7919) for i in range(20_000))
    packed = gzip.compress(raw) if pack == ".gz" else zstandard.compress(raw)
    path = tmp_path / f"pool.csv{pack}"
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(PoolError, match=rf"pool\.csv\{pack}: cannot be read .*fetch it again"):
        read(path, block_rows=100)


def test_a_file_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    for name in ("a.csv.gz", "a.csv.zst"):
        (tmp_path / name).write_bytes(b"url,caption\nhttp://a/1,x\n")
        with pytest.raises(PoolError, match=name):
            plan_segments(PoolSpec(str(tmp_path / name)))


def test_files_of_no_bytes_hold_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"")
    with pytest.raises(PoolError, match="no rows"):
        plan_segments(PoolSpec(str(tmp_path)))
    (tmp_path / "b.csv").write_text("url,caption\nhttp://a/1,x\n")
    (tmp_path / "c.csv").write_text("url,caption\n")
    assert read(tmp_path)["url"].to_list() == ["http://a/1"]


def test_headers_may_differ_but_not_in_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,caption,source\nhttp://a/1,x,s\n")
    (tmp_path / "b.csv").write_text("license,caption,url\nCC0,y,http://a/2\n")
    got = read(tmp_path)
    assert got["source"].to_list() == ["s", None]
    assert got["license"].to_list() == [None, "CC0"]
    assert got["url"].to_list() == ["http://a/1", "http://a/2"]
    (tmp_path / "c.csv").write_text("url,text\nhttp://a/3,z\n")
    with pytest.raises(PoolError, match=r"c\.csv: no column 'caption'; it has text, url"):
        plan_segments(PoolSpec(str(tmp_path)))


def test_a_header_by_the_spec_and_another_delimiter(tmp_path: Path) -> None:
    (tmp_path / "pool.txt").write_text("x|http://a/1\n")
    got = read(tmp_path / "pool.txt", format="csv", delimiter="|", header=("caption", "url"))
    assert got.select("url", "caption").rows() == [("http://a/1", "x")]


def test_a_header_that_repeats_a_name(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("url,caption,url\n")
    with pytest.raises(PoolError, match="names column 'url' twice"):
        plan_segments(PoolSpec(str(tmp_path)))


def test_utf16_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_bytes("url,caption\n".encode("utf-16"))
    with pytest.raises(PoolError, match="UTF-16"):
        plan_segments(PoolSpec(str(tmp_path)))


def test_broken_rows_stay_rows(tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_bytes(
        b"url,caption,n\nhttp://a/1,x,1\nonly\nhttp://a/2,\xff,2\n ,y,3\nhttp://a/3,z\0,4\n"
    )
    got = read(tmp_path)
    assert got["row_error"].to_list() == [None, "wrong_field_count", "not_utf8", "no_url", None]
    assert got["url"].to_list() == ["http://a/1", None, None, None, "http://a/3"]
    assert got["caption"].to_list() == ["x", None, None, "y", "z\ufffd"]
    assert got["n"].to_list() == ["1", None, None, "3", "4"]
    assert got["uid"].n_unique() == 5

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding.pair import pair_uid
from pairmill.transforms.pool.rows import ROW_ERRORS, finish_block, pair_uids, reblock, text_series
from pairmill.transforms.pool.schema import PoolColumn

anything = st.text(st.characters(), max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(anything, st.none() | anything), max_size=8))
def test_uids_of_many_rows_are_the_uids_of_each(rows: list[tuple[str, str | None]]) -> None:
    assert pair_uids([p for p, _ in rows], [c for _, c in rows]) == [pair_uid(p, c) for p, c in rows]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 20))
def test_reblock_keeps_rows_and_order(sizes: list[int], rows: int) -> None:
    whole = pl.DataFrame({"n": list(range(sum(sizes)))}, schema={"n": pl.Int64})
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    blocks = list(reblock((whole[s : s + n] for s, n in zip(starts, sizes, strict=True)), rows))
    assert pl.concat([whole[:0], *blocks]).equals(whole)
    assert all(b.height == rows for b in blocks[:-1])
    assert all(0 < b.height <= rows for b in blocks)


def test_lone_surrogates_become_replacement_characters() -> None:
    assert text_series("t", ["ok", None, "a\ud800b", "\U0001f600"]).to_list() == ["ok", None, "a\ufffdb", "\U0001f600"]


def test_finish_block_gives_one_reason_and_always_a_uid() -> None:
    columns = (PoolColumn("url", ("url",), pl.String()), PoolColumn("n", ("n",), pl.Int64()))
    raw = pl.DataFrame(
        {
            "url": ["\u00a0 http://a\t", "  ", None, "http://b", None],
            "path": [None, None, "../x", None, None],
            "uid": ["zz", "zz", "0f", None, None],
            "row_error": [None, None, None, "bad_json", None],
            "n": [1, 2, 3, 4, 5],
        }
    )
    got = finish_block(raw, columns, "file/0", 10)
    assert got["url"].to_list() == ["http://a", None, None, "http://b", None]
    assert got["row_error"].to_list() == ["bad_uid", "no_url", "path_outside_pool", "bad_json", "no_url"]
    assert set(got["row_error"]) <= set(ROW_ERRORS)
    assert got["uid"].to_list() == [
        pair_uid("http://a", None),
        pair_uid("file/0#11", None),
        "0f".zfill(32),
        pair_uid("http://b", None),
        pair_uid("file/0#14", None),
    ]

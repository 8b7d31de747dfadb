from __future__ import annotations

import hashlib
import subprocess
import sys

import polars as pl
import pytest

from pairmill.pipeline.demo.faults import EXPECTED, GOOD, KEPT, WANTED
from pairmill.pipeline.demo.grammar import Facts, Mention, read_facts
from pairmill.pipeline.demo.pool_rows import POOL_SCHEMA, Pool
from pairmill.pipeline.demo.roster import SHARES, WEB_FAULTS
from pairmill.sharding.pair import pair_uid

BASE = "http://127.0.0.1:80"


def frame(pool: Pool, start: int = 0, stop: int | None = None) -> pl.DataFrame:
    table = pl.from_arrow(pool.table(start, pool.rows if stop is None else stop))
    assert isinstance(table, pl.DataFrame)
    return table


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return frame(Pool(2000, 1, BASE)).with_row_index("row")


def test_any_slice_is_a_part_of_the_whole(rows: pl.DataFrame) -> None:
    whole = rows.drop("row")
    for start, stop in ((0, 1), (137, 260), (1990, 2000)):
        assert frame(Pool(2000, 1, BASE), start, stop).equals(whole[start:stop])
    assert frame(Pool(10_000_000, 1, BASE), 9_999_990, 10_000_000).height == 10
    assert not frame(Pool(2000, 2, BASE), 0, 100).equals(whole[:100])


SAY = """
import hashlib
from pairmill.pipeline.demo.pool_rows import Pool
rows = Pool(5_000_000, 3, "http://h").table(4_000_000, 4_000_300).to_pylist()
print(hashlib.sha256(repr(rows).encode()).hexdigest())
"""


def test_another_process_makes_the_same_rows() -> None:
    here = Pool(5_000_000, 3, "http://h").table(4_000_000, 4_000_300).to_pylist()
    there = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == hashlib.sha256(repr(here).encode()).hexdigest()


def test_shares_are_as_told(rows: pl.DataFrame) -> None:
    counts = dict(rows.group_by("planted").len().iter_rows())
    assert {kind: count for kind, count in counts.items() if kind != GOOD} == {k: 10 * n for k, n in SHARES.items()}
    assert counts[GOOD] > 1100
    smallest = frame(Pool(100, 0, BASE))
    assert set(smallest["planted"]) == {GOOD, *SHARES}


def test_truth_follows_the_tables(rows: pl.DataFrame) -> None:
    assert rows.columns[1:] == POOL_SCHEMA.names
    for planted, expect, wanted, width in rows.select("planted", "expect", "wanted", "expect_width").iter_rows():
        assert expect == EXPECTED[planted]
        assert wanted == WANTED.get(planted, expect)
        assert (width is not None) == (expect == KEPT)


def test_urls_and_captions_repeat_only_where_it_is_planted(rows: pl.DataFrame) -> None:
    beside = ("german", "french", "spanish", "one_word", "null_caption")
    free = rows.filter(~pl.col("planted").is_in(["repeated_row", "repeated_url", *beside]))
    assert free["url"].n_unique() == free.height
    good = set(rows.filter(planted=GOOD)["url"])
    bad = rows.filter(pl.col("planted").is_in(beside))
    assert 0 < sum(url in good for url in bad["url"]) < bad.height


def test_of_equal_rows_the_smaller_uid_stays_and_of_same_ones_the_first(rows: pl.DataFrame) -> None:
    for row in rows.filter(pl.col("expect_survivor").is_not_null()).iter_rows(named=True):
        winner = rows.row(row["expect_survivor"], named=True)
        mine, other = (pair_uid(each["url"], each["caption"]) for each in (row, winner))
        assert winner["planted"] == GOOD
        if row["planted"] == "repeated_row":
            assert mine == other
            assert row["row"] > winner["row"]
        elif row["planted"] in ("repeated_url", "same_bytes"):
            assert mine > other
            assert (row["url"] == winner["url"]) == (row["planted"] == "repeated_url")
            assert (row["caption"] == winner["caption"]) == (row["planted"] == "same_bytes")
        else:
            assert row["planted"] in ("resized", "recompressed")
    repeats = rows.filter(pl.col("expect").str.contains("duplicate"))
    assert repeats["expect_survivor"].null_count() == 0


def test_captions_state_the_facts_but_where_it_is_planted(rows: pl.DataFrame) -> None:
    wrong = {
        "wrong_colour": {"colour"},
        "wrong_count": {"count"},
        "wrong_object": {"object"},
    }
    for row in rows.filter(pl.col("language").is_not_null() & pl.col("object").is_not_null()).iter_rows(named=True):
        said = read_facts(row["caption"], row["language"])
        if row["planted"] == "boilerplate":
            assert said is None
            continue
        assert said is not None, row["caption"]
        if row["planted"] == "mismatched":
            assert said.first.thing not in (row["object"], row["other_object"])
        elif row["planted"] == "wrong_relation":
            assert swapped(said) == facts_in(row)
        elif row["planted"] in wrong:
            assert said != facts_in(row)
        else:
            assert said == facts_in(row), row


def swapped(facts: Facts) -> Facts:
    assert facts.second is not None
    return Facts(facts.second, facts.first, facts.relation)


def facts_in(row: dict[str, object]) -> Facts:
    first = Mention(row["count"], row["colour"], row["object"])  # type: ignore[arg-type]
    if row["relation"] == "alone":
        return Facts(first)
    second = Mention(row["other_count"], row["other_colour"], row["other_object"])  # type: ignore[arg-type]
    return Facts(first, second, str(row["relation"]))


def test_a_pool_of_files_has_no_faults_of_the_web() -> None:
    rows = frame(Pool(1000, 1, None)).with_row_index("row")
    assert rows["url"].null_count() == 1000
    assert rows["path"].n_unique() == 1000
    assert rows["path"][999].startswith("00000/00000999.")
    assert not set(rows["planted"]) & {*WEB_FAULTS, "repeated_row", "repeated_url"}
    assert rows.filter(planted="same_bytes").height == 5 * (1 + 4 + 4)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="99 is too few to hold every planted fault; give 100 or more"):
        Pool(99)
    with pytest.raises(ValueError, match="seed: -1 is outside"):
        Pool(100, -1)
    with pytest.raises(ValueError, match="evaluation: -1"):
        Pool(100, 0, evaluation=-1)

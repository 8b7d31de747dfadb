from __future__ import annotations

from dataclasses import replace

import pytest

from pairmill.pipeline.demo.planting import Draft, settle
from pairmill.sharding.pair import pair_uid

BASE = "http://127.0.0.1:80"
PHOTO = Draft("/a.jpg", "a photo", content="a", look="a", width=400, height=300, size=1000)


def outcome(*drafts: Draft) -> list[tuple[str, str, int | None]]:
    return settle(drafts, BASE).select("planted", "expect", "expect_survivor").rows()


def test_urls_of_the_server_get_its_address_and_others_stay() -> None:
    pool = settle([PHOTO, Draft("http://elsewhere.invalid/a.jpg", None, "no_host")], BASE + "/")
    assert pool["url"].to_list() == [BASE + "/a.jpg", "http://elsewhere.invalid/a.jpg"]
    assert pool["expect"].to_list() == ["kept", "unknown_host|dns_error"]
    assert pool.select("expect_width", "expect_height").rows() == [(400, 300), (None, None)]


@pytest.mark.parametrize("kind", ["repeated_url", "same_bytes"])
def test_of_equal_rows_the_smaller_uid_survives_whatever_the_order(kind: str) -> None:
    other = replace(PHOTO, caption="another") if kind == "repeated_url" else replace(PHOTO, url="/b.jpg")
    best = min((PHOTO, other), key=lambda row: pair_uid(BASE + row.url, row.caption))
    for rows in ((PHOTO, other), (other, PHOTO)):
        survivor = rows.index(best)
        reason = "duplicate_url" if kind == "repeated_url" else "duplicate_sha256"
        expected = [("", "kept", None) if row is best else (kind, reason, survivor) for row in rows]
        assert outcome(*rows) == expected


def test_the_first_of_identical_rows_stays() -> None:
    assert outcome(PHOTO, PHOTO, PHOTO) == [
        ("", "kept", None),
        ("repeated_row", "duplicate_row", 0),
        ("repeated_row", "duplicate_row", 0),
    ]


def test_near_copies_lose_to_the_larger_then_to_the_heavier() -> None:
    smaller = replace(PHOTO, url="/s.jpg", content="s", width=200, height=150, size=5000, planted="resized")
    lighter = replace(PHOTO, url="/l.jpg", content="l", size=900, planted="recompressed")
    assert outcome(smaller, lighter, PHOTO) == [
        ("resized", "near_duplicate", 2),
        ("recompressed", "near_duplicate", 2),
        ("", "kept", None),
    ]


def test_a_repeat_of_a_copy_names_the_row_that_is_kept() -> None:
    copy = replace(PHOTO, url="/s.jpg", content="s", width=200, height=150, planted="resized")
    again = replace(copy, caption="said again")
    found = outcome(copy, again, PHOTO)
    assert sorted(found[:2]) == [("repeated_url", "duplicate_url", 2), ("resized", "near_duplicate", 2)]


def test_a_repeated_row_names_the_first_one_even_where_that_is_lost() -> None:
    copy = replace(PHOTO, url="/s.jpg", content="s", width=200, height=150, planted="resized")
    assert outcome(copy, copy, PHOTO) == [
        ("resized", "near_duplicate", 2),
        ("repeated_row", "duplicate_row", 0),
        ("", "kept", None),
    ]


def test_rows_that_fall_for_another_reason_neither_win_nor_lose() -> None:
    larger = replace(PHOTO, caption="ein Foto", width=4000, planted="german")
    dead = replace(PHOTO, url="/odd/robots/noai/a.jpg", planted="robots_noai")
    assert outcome(larger, PHOTO, dead) == [
        ("german", "language_not_kept", None),
        ("", "kept", None),
        ("robots_noai", "opted_out", None),
    ]


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown kinds of planted rows: ghost"):
        settle([replace(PHOTO, planted="ghost")], BASE)

from __future__ import annotations

from collections import Counter

from pairmill.pipeline.demo.faults import EXPECTED, GOOD, WANTED
from pairmill.pipeline.demo.pairs import pair_at
from pairmill.pipeline.demo.roster import CYCLE, MIN_ROWS, PAIRED, SHARES, slot


def test_every_cycle_has_the_shares_and_the_first_half_one_of_each() -> None:
    for cycle in (0, 7):
        kinds = Counter(slot(cycle * CYCLE + place).kind for place in range(CYCLE))
        assert {kind: count for kind, count in kinds.items() if kind != GOOD} == SHARES
    assert {slot(place).kind for place in range(MIN_ROWS)} == {GOOD, *SHARES}
    assert SHARES.keys() <= EXPECTED.keys()
    assert WANTED.keys() <= EXPECTED.keys()


def test_partly_wrong_captions_come_in_equal_parts() -> None:
    assert len({SHARES[f"wrong_{point}"] for point in ("colour", "count", "object", "relation")}) == 1


def test_ordinals_count_each_kind_and_repeats_follow_their_good_pair() -> None:
    slots = [slot(number) for number in range(4 * CYCLE)]
    for kind in SHARES:
        assert [held.ordinal for held in slots if held.kind == kind] == list(range(4 * SHARES[kind]))
    for number, held in enumerate(slots):
        if held.original >= 0:
            assert held.original == number - 1
            assert (slots[number - 1].kind, slots[number - 1].companion) == (GOOD, held.kind)
        else:
            assert held.kind not in PAIRED


def test_no_picture_of_the_evaluation_set_leaks_twice() -> None:
    pairs = [pair_at(0, number, evaluation=40) for number in range(20 * CYCLE)]
    leaked = [pair.number for pair in pairs if pair.planted in ("leaked", "leaked_copy")]
    assert sorted(leaked) == list(range(0, 40, 2))
    assert {pair.form for pair in pairs if pair.planted == "leaked"} == {"evaluation"}

"""ALIGN, Conceptual Captions, Wukong and WIT: the numbers of their papers, at their edges and on real captions."""

from __future__ import annotations

import random
import re
import unicodedata

import polars as pl
import pytest

from pairmill.filters.align import Align
from pairmill.filters.conceptual_captions import CC3M, CC12M
from pairmill.filters.rule_set import RuleSet
from pairmill.filters.verdict import first_reason
from pairmill.filters.wit import Wit
from pairmill.filters.wukong import Wukong

GOOD = {
    "caption": "A dog in the park",
    "original_width": 800,
    "original_height": 600,
    "source_format": "JPEG",
    "images_of_caption": 10,
    "captions_of_image": 1000,
    "license": "cc-by-sa-4.0",
    "pairs_of_language": 12_000,
}


def reasons(rules: RuleSet, *changes: dict[str, object]) -> list[str | None]:
    return first_reason(rules.rules(), pl.DataFrame([{**GOOD, **change} for change in changes])).to_list()


def test_align():
    sizes = [(201, 602), (200, 400), (201, 603), (603, 201), (201, 201)]
    assert reasons(Align(), *({"original_width": w, "original_height": h} for w, h in sizes)) == [
        None, "image_too_small", "image_too_elongated", "image_too_elongated", None,
    ]  # fmt: skip
    words = [3, 20, 2, 21]
    assert reasons(Align(), *({"caption": " ".join("a" * n)} for n in words)) == [
        None, None, "caption_too_few_words", "caption_too_many_words",
    ]  # fmt: skip


def test_align_s_counts_are_asked_for_by_name():
    rules = Align(images_of_caption="images_of_caption", captions_of_image="captions_of_image")
    assert reasons(rules, {}, {"images_of_caption": 11}, {"captions_of_image": 1001}) == [
        None, "images_of_caption_too_high", "captions_of_image_too_high",
    ]  # fmt: skip
    rules = Align(frequent=("a", "dog", "in", "the", "park", "a dog", "dog in", "in the", "the park"))
    assert reasons(rules, {}, {"caption": "A dog in a park"}, {"caption": "A cat in the park"}) == [
        None, "caption_has_unknown_word", "caption_has_unknown_word",
    ]  # fmt: skip


def test_cc3m():
    changes = [
        {},
        {"source_format": "PNG"},
        {"original_width": 400},
        {"original_width": 401, "original_height": 802},
        {"original_width": 401, "original_height": 803},
        {"caption": "a dog in the park"},
        {"caption": "Embedded image permalink"},
        {"caption": "My profile photo"},
    ]
    assert reasons(CC3M(), *changes) == [
        None,
        "source_format_not_kept",
        "image_too_small",
        None,
        "image_too_elongated",
        "caption_not_capitalised",
        "caption_begins_with_phrase",
        "caption_ends_with_phrase",
    ]
    strict = CC3M(vocabulary=("a", "dog"), max_capital_words=0.5, max_repeated=0.1)
    captions = ["A dog", "A Dog", "A dog dog", "A cat"]
    assert reasons(strict, *({"caption": caption} for caption in captions)) == [
        None, "caption_too_capitalised", "caption_repetitive", "caption_has_unknown_word",
    ]  # fmt: skip


def test_cc12m():
    changes = [
        {"caption": "one dog here"},
        {"caption": "a dog"},
        {"caption": " ".join(map(str, range(257)))},
        {"caption": "a b c a"},
        {"original_width": 402, "original_height": 1005},
        {"original_width": 402, "original_height": 1006},
        {"original_width": 400},
    ]
    assert reasons(CC12M(), *changes) == [
        None,
        "caption_too_few_words",
        "caption_too_many_words",
        "caption_repetitive",
        None,
        "image_too_elongated",
        "image_too_small",
    ]


def test_wukong():
    changes = [
        {"caption": "\u4e2d\u56fd abc"},
        {"caption": "abc"},
        {"caption": "\u4e2d" * 32},
        {"caption": "\u4e2d\u56fd.jpg"},
        {"caption": "\u4e2d", "original_width": 201, "original_height": 603},
        {"caption": "\u4e2d", "original_width": 201, "original_height": 604},
        {"caption": "\u4e2d", "original_width": 200},
    ]
    assert reasons(Wukong(), *changes) == [
        None,
        "caption_too_little_of_script",
        "caption_too_much_of_script",
        "caption_matches_pattern",
        None,
        "image_too_elongated",
        "image_too_small",
    ]
    rules = Wukong(sensitive=("\u654f\u611f",), repeats_of_caption="images_of_caption")
    zh = {"caption": "\u4e2d"}
    assert reasons(rules, zh, {"caption": "\u4e0d\u654f\u611f"}, {**zh, "images_of_caption": 11}) == [
        None, "caption_has_phrase", "images_of_caption_too_high",
    ]  # fmt: skip


def test_wit():
    changes = [
        {"caption": "abc"},
        {"caption": "ab"},
        {"original_width": 99},
        {"original_width": 100, "original_height": 9000},
    ]
    assert reasons(Wit(), *changes) == [None, "caption_too_few_chars", "image_too_small", None]
    assert reasons(Wit(alt_text=True), {"caption": "See map.PNG"}, {"caption": "a dog"}) == ["caption_has_phrase", None]
    rules = Wit(licences=("cc-by-sa-4.0",), pairs_of_language="pairs_of_language")
    assert reasons(rules, {}, {"license": "all rights"}, {"pairs_of_language": 11_999}) == [
        None, "license_not_kept", "pairs_of_language_too_low",
    ]  # fmt: skip


def align(text: str, width: int, height: int) -> bool:
    return 3 <= len(text.split()) <= 20 and min(width, height) > 200 and max(width, height) / min(width, height) < 3


def cc3m(text: str, width: int, height: int) -> bool:
    lower = text.strip().lower()
    boilerplate = any(lower.startswith(p) or lower.endswith(p) for p in ("embedded image permalink", "profile photo"))
    capital = bool(text.split()) and unicodedata.category(text.split(maxsplit=1)[0][0]) in ("Lu", "Lt")
    return min(width, height) > 400 and max(width, height) / min(width, height) <= 2 and capital and not boilerplate


def cc12m(text: str, width: int, height: int) -> bool:
    words = text.lower().split()
    lower = text.strip().lower()
    boilerplate = any(lower.startswith(p) or lower.endswith(p) for p in ("embedded image permalink", "profile photo"))
    size = min(width, height) > 400 and max(width, height) / min(width, height) <= 2.5
    return size and 3 <= len(words) <= 256 and (len(words) - len(set(words))) / len(words) <= 0.2 and not boilerplate


def wukong(text: str, width: int, height: int) -> bool:
    han = sum("CJK UNIFIED" in unicodedata.name(char, "") for char in text)
    size = min(width, height) > 200 and max(width, height) / min(width, height) <= 3
    return size and 1 <= han < 32 and not re.fullmatch(r"\s*\S+\.(?:jpe?g|png|gif|bmp|webp|tiff?)\s*", text, re.I)


def wit(text: str, width: int, height: int) -> bool:
    return len(text) >= 3 and min(width, height) >= 100


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("rules", "keeps", "least"),
    [(Align(), align, 2000), (CC3M(), cc3m, 500), (CC12M(), cc12m, 1000), (Wukong(), wukong, 1), (Wit(), wit, 5000)],
)
def test_row_equal_on_real_web_captions(shared_data, rules, keeps, least):
    captions = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"].to_list()
    rng = random.Random(0)
    sizes = [(rng.choice([rng.randint(1, 3000), 200, 201, 401, 603]), rng.choice([rng.randint(1, 2000), 402, 603]))
             for _ in captions]  # fmt: skip
    frame = pl.DataFrame(
        {
            "caption": captions,
            "original_width": [width for width, _ in sizes],
            "original_height": [height for _, height in sizes],
            "source_format": ["JPEG"] * len(captions),
        }
    )
    kept = first_reason(rules.rules(), frame).is_null().to_list()
    assert kept == [keeps(text, *size) for text, size in zip(captions, sizes, strict=True)]
    assert least <= sum(kept) < 9_900

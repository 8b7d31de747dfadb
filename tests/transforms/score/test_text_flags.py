from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms.score.scorer import LoadedTextScorer
from pairmill.transforms.score.text_flags import FLAGS, TextFlagsScorer

#: Text to the flags that are true of it, all rules on, US numbers known. None of the numbers is anybody's: they are
#: those that card companies, banks and telephone authorities set aside for examples.
EXAMPLES: dict[str, set[str]] = {
    "a red car beside a church": set(),
    "": set(),
    "write to jane.doe+spam@mail.example.org today": {"email"},
    "Kontakt: müller@exämple.de": {"email"},
    "ｊａｎｅ＠example.com": {"email"},
    "a photo@home in 2020": set(),
    "photo by @jane_doe": {"username"},
    "@A": set(),
    "meet @ 5pm, price @5": set(),
    "https://medium.com/@jane/post": {"url"},
    "see https://example.org/a?b=c": {"url"},
    "visit WWW.example.co.uk now": {"url"},
    "an example.org sticker": set(),
    "call +49 30 901820": {"phone"},
    "call (212) 555-0123 now": {"phone"},
    "12 x 3456 7890 cm": set(),
    "5 pieces, 10 cm, 1990-2000, 4,500,000 people": set(),
    "server 93.184.216.34 is up": {"ip_address"},
    "router 192.168.178.21 at home": set(),
    "version 3.7.5.8 of the app": set(),
    "release 1.22.333.4444": set(),
    "chapter 10.22.33.44.55": set(),
    "host 2606:4700:4700::1111 answers": {"ip_address"},
    "from 12:30:45 to 13:00": set(),
    "mac 00:1b:44:11:3a:b7": set(),
    "::": set(),
    "card 4111 1111 1111 1111 exp": {"credit_card"},
    "378282246310005": {"credit_card"},
    "4111-1111-1111-1112": set(),
    "item 4012888888881": set(),
    "0000 0000 0000 0000": set(),
    "pi is 3.4111111111111111": set(),
    "IBAN DE89 3704 0044 0532 0130 00 BANK OF NOWHERE": {"iban"},
    "GB82WEST12345698765432": {"iban"},
    "DE89 3704 0044 0532 0130 01": set(),
    "MODEL AB12 CDEF 1234 5678 9012": set(),
}


@pytest.fixture(scope="module")
def rules() -> LoadedTextScorer:
    loaded = TextFlagsScorer(phone_regions=("US",)).load("cpu", "fp32")
    assert isinstance(loaded, LoadedTextScorer)
    return loaded


@pytest.mark.parametrize(("text", "expected"), EXAMPLES.items(), ids=[text[:30] or "empty" for text in EXAMPLES])
def test_examples(rules: LoadedTextScorer, text: str, expected: set[str]) -> None:
    found = rules.score([text])
    assert {flag for flag, values in found.items() if values[0]} == expected
    assert all(values.dtype == np.bool_ for values in found.values())


def test_a_text_is_judged_alone(rules: LoadedTextScorer) -> None:
    together = rules.score(list(EXAMPLES))
    for flag, values in together.items():
        assert values.tolist() == [flag in expected for expected in EXAMPLES.values()]


@given(st.text(st.characters(codec=None), max_size=300))
def test_any_text_is_judged(text: str) -> None:
    found = TextFlagsScorer(phone_regions=("US", "DE")).load("cpu", "fp32").score([text, text + " mail a@example.org"])
    assert found["email"][1]
    assert all(len(values) == 2 for values in found.values())


def test_without_a_region_a_number_needs_its_country_code() -> None:
    loaded = TextFlagsScorer(flags=("phone",)).load("cpu", "fp32")
    assert loaded.score(["call 212 555 0123", "call +1 212 555 0123"])["phone"].tolist() == [False, True]


def test_a_long_text_is_read_up_to_its_bound() -> None:
    loaded = TextFlagsScorer(flags=("email",), max_chars=30).load("cpu", "fp32")
    assert loaded.score(["a@example.org" + " x" * 50_000, "x " * 20 + "a@example.org"])["email"].tolist() == [
        True,
        False,
    ]


def test_columns_come_in_one_order_and_the_word_list_last(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("darn\nholy smoke\n")
    scorer = TextFlagsScorer(flags=("url", "email"), profanity_words=str(words))
    assert scorer.columns("flags") == {
        "flags_email": pl.Boolean(),
        "flags_url": pl.Boolean(),
        "flags_profanity": pl.Boolean(),
        "flags_outcome": pl.String(),
    }
    found = scorer.load("cpu", "fp32").score(["Darn, a bus", "a bus"])
    assert list(found) == ["email", "url", "profanity"]
    assert found["profanity"].tolist() == [True, False]


def test_identity(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("darn\n")
    second.write_text("darn\n")
    identity = TextFlagsScorer(profanity_words=str(first)).identity()
    assert identity == TextFlagsScorer(profanity_words=str(second)).identity()
    assert str(tmp_path) not in str(identity)
    second.write_text("heck\n")
    assert identity != TextFlagsScorer(profanity_words=str(second)).identity()
    assert identity["phonenumbers"]
    assert TextFlagsScorer(flags=("url",)).identity()["phonenumbers"] is None


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"flags": ("mail",)}, f"there is no flag 'mail'; the flags are: {', '.join(FLAGS)}"),
        ({"flags": ()}, "nothing would be measured"),
        ({"flags": ("url", "url")}, "flags names one twice"),
        ({"phone_regions": ("usa",)}, "give codes such as US"),
        ({"texts": ()}, "name the text columns to read"),
        ({"texts": ("a", "a")}, "texts names a column twice"),
        ({"max_chars": 0}, "max_chars must be at least 1"),
    ],
)
def test_bad_parameters(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TextFlagsScorer(**parameters)


def test_a_country_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="'XX' is no country that phonenumbers knows"):
        TextFlagsScorer(phone_regions=("XX",)).load("cpu", "fp32")


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stdnum", None)
    monkeypatch.setitem(sys.modules, "stdnum.iban", None)
    monkeypatch.setitem(sys.modules, "stdnum.luhn", None)
    with pytest.raises(ValueError, match=r"needs the package python-stdnum: pip install 'pairmill\[models\]'"):
        TextFlagsScorer(flags=("iban",)).identity()
    assert TextFlagsScorer(flags=("url",)).load("cpu", "fp32").score(["www.example.org"])["url"].tolist() == [True]

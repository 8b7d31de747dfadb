"""Flags of a text by listed rules: what may name a person, and words of a list.

Each rule is a function from text to bool. What can be checked is checked: numbers of cards by length, issuer and
check digit, IBANs by country and checksum, telephone numbers by the numbering plans of their country, addresses by
parsing them. Names and postal addresses are found by no rule here.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl

from pairmill.transforms.model_folder import weight_file_sha256
from pairmill.transforms.score.promised_columns import check_texts, measures_of_texts
from pairmill.transforms.score.scorer import CAPTION, LoadedTextScorer, Measures, Scorer
from pairmill.transforms.score.word_list import folded, read_word_list

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w-])")
_URL = re.compile(r"\b(?:https?|ftp)://[^\s<>\"]{3,}|\bwww\.[\w-]+\.\w{2,}", re.IGNORECASE)
_USERNAME = re.compile(r"(?<![\w@.+%/-])@[^\W\d]\w(?:[\w.]{0,27}\w)?")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]?\d)")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f:]{2,39}(?![\w:])")
_CARD = re.compile(r"(?<![\w.,-])\d(?:[ -]?\d){13,18}(?![\w-]|[.,]\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}")
#: Issuer and lengths of the cards that circulate (ISO/IEC 7812): Visa, Mastercard, American Express, Diners, JCB,
#: Discover, UnionPay. Thirteen digits are left out: they are the barcodes of goods.
_ISSUERS = re.compile(
    r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|4[4-9]\d|5\d\d)\d{12}|62\d{14,17}"
)
#: A number of a telephone has at least so many digits.
_FEWEST_DIGITS = 7
_DIGIT = re.compile(r"\d")

Flag = Literal["email", "phone", "ip_address", "credit_card", "iban", "url", "username"]
#: Every rule but the word list, in the order of the columns.
FLAGS: tuple[Flag, ...] = ("email", "phone", "ip_address", "credit_card", "iban", "url", "username")


@dataclass(frozen=True, kw_only=True)
class TextFlagsScorer(Scorer):
    """``<name>_<flag>`` for each of ``flags``, and ``<name>_profanity`` where a word list is given: Boolean columns.

    For a text other than the caption its name follows: ``<name>_<flag>_<text>``.

    flags: which rules (docs/scorers.md lists them).
    profanity_words: a UTF-8 file with a word or phrase a line. None is shipped: which words offend is for the user.
    phone_regions: countries (ISO 3166, such as ``US``) whose numbers are found without their country code too.
    texts: the text columns that are read.
    max_chars: what follows is not looked at, so that a text of any length costs little.
    """

    kind: ClassVar[str] = "text_flags"
    source: ClassVar[str] = "kinds of FineWeb2 and HPLT 3.0; Google's libphonenumber; python-stdnum; public addresses"
    reads: ClassVar[Literal["image", "text"]] = "text"
    on_device: ClassVar[bool] = False
    paths: ClassVar[tuple[str, ...]] = ("profanity_words",)

    flags: tuple[Flag, ...] = FLAGS
    profanity_words: str | None = None
    phone_regions: tuple[str, ...] = ()
    texts: tuple[str, ...] = (CAPTION,)
    max_chars: int = 10_000

    def __post_init__(self) -> None:
        for flag in self.flags:
            if flag not in FLAGS:
                raise ValueError(f"text_flags: there is no flag {flag!r}; the flags are: {', '.join(FLAGS)}")
        if not self.flags and self.profanity_words is None:
            raise ValueError("text_flags: neither flags nor profanity_words are given; nothing would be measured")
        if len(set(self.flags)) < len(self.flags):
            raise ValueError("text_flags: flags names one twice")
        if self.max_chars < 1:
            raise ValueError("text_flags: max_chars must be at least 1")
        check_texts(self.kind, self.texts)
        if any(not re.fullmatch("[A-Z]{2}", region) for region in self.phone_regions):
            raise ValueError(f"text_flags: phone_regions is {list(self.phone_regions)}; give codes such as US")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """A Boolean column for each flag, and ``<name>_outcome``, and the same for each other text."""
        return measures_of_texts(name, {flag: pl.Boolean() for flag in self._measures()}, self.texts)

    def identity(self) -> dict[str, Any]:
        """The rules, the digest of the word list, and the versions of the libraries that know numbering plans."""
        words = self.profanity_words
        if words is not None:
            read_word_list(words)
        return {
            "flags": list(self.flags),
            "profanity_words": None if words is None else weight_file_sha256(words),
            "phone_regions": sorted(self.phone_regions) if "phone" in self.flags else [],
            "texts": list(self.texts),
            "max_chars": self.max_chars,
            "unicode": unicodedata.unidata_version,
            "phonenumbers": _import("phonenumbers").__version__ if "phone" in self.flags else None,
            "stdnum": _import("stdnum").__version__ if {"credit_card", "iban"} & set(self.flags) else None,
        }

    def text_columns(self) -> tuple[str, ...]:
        """Those of ``texts``."""
        return self.texts

    def load(self, device: str, precision: str) -> LoadedTextScorer:
        """The rules; always on the CPU."""
        rules: dict[str, Callable[[str], bool]] = {
            "email": has_email,
            "ip_address": has_ip_address,
            "url": has_url,
            "username": has_username,
        }
        if "phone" in self.flags:
            rules["phone"] = phone_rule(self.phone_regions)
        if {"credit_card", "iban"} & set(self.flags):
            rules["credit_card"], rules["iban"] = card_rule(), iban_rule()
        if self.profanity_words is not None:
            words = read_word_list(self.profanity_words)
            rules["profanity"] = lambda text: words.found_in(folded(text))
        return _Rules({flag: rules[flag] for flag in self._measures()}, self.max_chars)

    def _measures(self) -> tuple[str, ...]:
        in_order = tuple(flag for flag in FLAGS if flag in self.flags)
        return in_order if self.profanity_words is None else (*in_order, "profanity")


class _Rules(LoadedTextScorer):
    def __init__(self, rules: dict[str, Callable[[str], bool]], max_chars: int) -> None:
        self.rules = rules
        self.max_chars = max_chars

    def score(self, texts: Sequence[str]) -> Measures:
        """By flag, whether the rule finds something: bool."""
        read = [unicodedata.normalize("NFKC", text[: self.max_chars]) for text in texts]
        return {
            flag: np.fromiter(map(rule, read), dtype=np.bool_, count=len(read)) for flag, rule in self.rules.items()
        }


def has_email(text: str) -> bool:
    """``name@example.org``."""
    return "@" in text and _EMAIL.search(text) is not None


def has_url(text: str) -> bool:
    """An address with ``http://``, ``https://`` or ``ftp://``, or one that begins with ``www.``."""
    return _URL.search(text) is not None


def has_username(text: str) -> bool:
    """``@name`` as on social networks, from two characters on, which begins with no digit."""
    return "@" in text and _USERNAME.search(text) is not None


def has_ip_address(text: str) -> bool:
    """A public IPv4 or IPv6 address; those of private networks name nobody.

    Four numbers of which fewer than two have two digits are taken for a version: 3.7.5.8.
    """
    return any(
        _is_public(found.group())
        for pattern, sign in ((_IPV4, "."), (_IPV6, ":"))
        if text.count(sign) >= 2
        for found in pattern.finditer(text)
    )


def card_rule() -> Callable[[str], bool]:
    """The number of a payment card: issuer, length and the check digit of Luhn; blanks or hyphens between digits."""
    luhn = _import("stdnum.luhn")

    def has_card(text: str) -> bool:
        for found in _CARD.finditer(text):
            digits = re.sub("[ -]", "", found.group())
            if digits.isascii() and _ISSUERS.fullmatch(digits) and luhn.is_valid(digits):
                return True
        return False

    return has_card


def iban_rule() -> Callable[[str], bool]:
    """An IBAN: the length and the layout of its country, and its checksum."""
    iban = _import("stdnum.iban")

    def has_iban(text: str) -> bool:
        for found in _IBAN.finditer(text):
            # What follows may look like more of it; only the length of the country is valid.
            compact = re.sub("[ -]", "", found.group())
            if any(iban.is_valid(compact[:length]) for length in range(15, len(compact) + 1)):
                return True
        return False

    return has_iban


def phone_rule(regions: tuple[str, ...] = ()) -> Callable[[str], bool]:
    """A telephone number that its country's numbering plan has: with ``+`` and country code, or of ``regions``."""
    phonenumbers = _import("phonenumbers")
    if unknown := set(regions) - set(phonenumbers.SUPPORTED_REGIONS):
        raise ValueError(f"text_flags: phone_regions: {sorted(unknown)[0]!r} is no country that phonenumbers knows")
    tried = regions or (None,)

    def has_phone(text: str) -> bool:
        if (not regions and "+" not in text) or len(_DIGIT.findall(text)) < _FEWEST_DIGITS:
            return False
        text = _IPV4.sub("|", text)
        return any(phonenumbers.PhoneNumberMatcher(text, region, max_tries=100).has_next() for region in tried)

    return has_phone


def _is_public(address: str) -> bool:
    if "." in address and sum(len(number) > 1 for number in address.split(".")) < 2:
        return False
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _import(name: str) -> Any:
    """A module of a package that few need."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError:
        package = {"stdnum": "python-stdnum"}.get(name.partition(".")[0], name)
        raise ValueError(f"text_flags needs the package {package}: pip install 'pairmill[models]'") from None

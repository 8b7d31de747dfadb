"""Which pictures a page does not show: those that a rule on safety rejected, and those that somebody took down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: A scorer or a column with such a word in its name, or in its model's, is about safety.
_WORDS = frozenset(
    (
        *("nsfw", "punsafe", "unsafe", "safety", "porn", "pornography", "nude", "nudity", "sex", "sexual"),
        *("csam", "gore", "violence", "violent", "hate", "hateful", "toxic", "toxicity", "offensive", "abuse"),
    )
)
_WORD = re.compile(r"[a-z]+")
#: Of a takedown, and of lists of hosts, URLs, digests and hashes that are to be kept out.
_REMOVED = "removed"
_BLOCKED = "_blocked"
LIMIT = 0.5


def is_unsafe_name(text: str) -> bool:
    """Whether a name has a word of safety in it."""
    return not _WORDS.isdisjoint(_WORD.findall(text.lower()))


def unsafe_scorers(scorers: Mapping[str, Any]) -> frozenset[str]:
    """The scorers of a build that are about safety, by their names or what their settings say."""
    return frozenset(name for name, settings in scorers.items() if is_unsafe_name(f"{name} {settings}"))


def is_unsafe_reason(reason: str, scorers: Iterable[str] = ()) -> bool:
    """Whether rows rejected for this reason are kept out of sight; ``scorers`` are those about safety."""
    if reason == _REMOVED or reason.endswith(_BLOCKED) or is_unsafe_name(reason):
        return True
    bare = reason.removeprefix("missing_")
    return any(bare.startswith(f"{name}_") for name in scorers)


def said_unsafe(record: Mapping[str, Any]) -> bool:
    """Whether what is known of a pair says that its picture is not for everyone's eyes.

    A text column ``NSFW`` as LAION has it (``UNLIKELY``, ``UNSURE``, ``NSFW``), or a number above LIMIT in a column
    about safety (``punsafe``, ``nsfw_score``).
    """
    for name, value in record.items():
        if isinstance(value, str) and name.lower() == "nsfw" and value.upper() in ("NSFW", "UNSAFE", "TRUE", "1"):
            return True
        if isinstance(value, float | bool) and is_unsafe_name(name) and value > LIMIT:
            return True
    return False

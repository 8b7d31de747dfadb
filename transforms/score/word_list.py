"""Whether a text holds a word of a list: whole words, whatever their case, in any script."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

#: Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

#: Beyond the first two planes of Unicode there are Han, and what nobody writes.
_LAST_SIGN = 0x20000


class WordList:
    """Words and phrases. Those in scripts without spaces, or of signs alone, are found anywhere within a text."""

    def __init__(self, terms: Iterable[str]) -> None:
        self._phrases: set[tuple[str, ...]] = set()
        self._anywhere: set[str] = set()
        for term in map(folded, terms):
            words = tuple(_words(term))
            if words and not _UNSPACED.search(term):
                self._phrases.add(words)
            elif term:
                self._anywhere.add(term)
        self._lengths = sorted({len(words) for words in self._phrases})

    def __len__(self) -> int:
        """How many different words and phrases there are."""
        return len(self._phrases) + len(self._anywhere)

    def found_in(self, text: str) -> bool:
        """Whether one of them is in a text that is ``folded``."""
        if any(term in text for term in self._anywhere):
            return True
        words = _words(text)
        return any(
            tuple(words[start : start + length]) in self._phrases
            for length in self._lengths
            for start in range(len(words) - length + 1)
        )


def read_word_list(path: str | Path) -> WordList:
    """A UTF-8 file with a word or phrase a line; lines that begin with # are for people.

    Raises ValueError with one line when it is not readable, no UTF-8, or has no word.
    """
    file = Path(path).expanduser()
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"word list {file}: it is no UTF-8") from None
    except OSError as error:
        raise ValueError(f"word list {file}: {error.strerror}") from error
    words = WordList(line for line in lines if not line.lstrip().startswith("#"))
    if not len(words):
        raise ValueError(f"word list {file}: it has no word; give one a line")
    return words


def folded(text: str) -> str:
    """The text without differences of case, width or composition."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).strip()


def _words(text: str) -> list[str]:
    return [word for word in _breaks().split(text) if word]


@functools.cache
def _breaks() -> re.Pattern[str]:
    """What words do not hold: white space, punctuation, signs. Marks belong to words: Python's ``\\w`` has none."""
    ranges: list[list[int]] = []
    for code in range(_LAST_SIGN):
        if unicodedata.category(chr(code))[0] in "ZPSC" and chr(code) not in "\u200c\u200d":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return re.compile("[" + "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in ranges) + "]+")

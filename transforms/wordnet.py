"""The words whose most common meaning is one of given synsets, out of the files of a WordNet.

DataComp's text_based asks NLTK for the synsets of every word of a caption and keeps the caption if the first of them is
in ImageNet-21k. The same can be asked the other way round, once: which words are there that pass? The look-up restated
here is that of NLTK 3.8.1 (``WordNetCorpusReader.synsets``, ``_morphy``), which DataComp pins.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

#: The parts of speech in the order in which their synsets are listed.
PARTS = ("noun", "verb", "adj", "adv")

#: Endings that are taken off a word, and what is put in their place, for each part of speech.
ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        ("s", ""), ("ses", "s"), ("ves", "f"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"),
        ("men", "man"), ("ies", "y"),
    ),
    "verb": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}  # fmt: skip

#: How often an ending is put on a word when words are looked for: "womens" takes two (woman, women, womens).
MAX_ENDINGS = 4


@dataclass(frozen=True)
class WordNet:
    """Its index and exceptions: by part of speech, lemma to offsets (most common first), and form to lemmas."""

    offsets: dict[str, dict[str, tuple[int, ...]]]
    exceptions: dict[str, dict[str, tuple[str, ...]]]

    def first_synset(self, word: str) -> int | None:
        """The offset of the first synset that NLTK lists for a word of any case; None where it lists none."""
        form = word.lower()
        for part in PARTS:
            lemmas = self._lemmas(form, part)
            if lemmas:
                return self.offsets[part][lemmas[0]][0]
        return None

    def words_of(self, synsets: Collection[int], max_endings: int = MAX_ENDINGS) -> list[str]:
        """Every lower-case word whose first synset is among ``synsets``, sorted.

        Words are looked for among the lemmas, the exceptions, and both with up to ``max_endings`` endings put on: NLTK
        takes off any number, so that a word such as "dogssss" and beyond is not found here.
        """
        wanted = set(synsets)
        candidates: set[str] = set()
        for part in PARTS:
            words = {lemma for lemma, offsets in self.offsets[part].items() if offsets and offsets[0] in wanted}
            irregular = self.exceptions[part].items()
            candidates |= {form for form, bases in irregular if form in words or not words.isdisjoint(bases)}
            for _ in range(max_endings + 1):
                candidates |= words
                words = {
                    word.removesuffix(new) + old for word in words for old, new in ENDINGS[part] if word.endswith(new)
                }
        return sorted(word for word in candidates if self.first_synset(word) in wanted)

    def _lemmas(self, form: str, part: str) -> list[str]:
        """What a form may be an inflexion of, in NLTK's order."""
        index, exceptions = self.offsets[part], self.exceptions[part]
        if form in exceptions:
            return _known([form, *exceptions[form]], index)
        forms = [form]
        found = _known([form, *_without_endings(forms, part)], index)
        while forms and not found:
            forms = _without_endings(forms, part)
            found = _known(forms, index)
        return found


def read_wordnet(path: Path) -> WordNet:
    """A WordNet from its folder of ``index.noun``, ``noun.exc`` and so on, or a zip of it (as NLTK downloads it).

    Raises ValueError with one line where a file is missing or is none of WordNet's.
    """
    offsets: dict[str, dict[str, tuple[int, ...]]] = {}
    exceptions: dict[str, dict[str, tuple[str, ...]]] = {}
    for part in PARTS:
        offsets[part] = dict(_index_line(line, f"{path}: index.{part}") for line in _lines(path, f"index.{part}"))
        forms = (line.split() for line in _lines(path, f"{part}.exc"))
        exceptions[part] = {words[0]: tuple(words[1:]) for words in forms if words}
    return WordNet(offsets, exceptions)


def read_synset_ids(path: Path) -> list[int]:
    """Offsets of a file of ImageNet's ids (``n02084071``), one a line. Raises ValueError naming the line."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"synset ids {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        identifier = line.strip()
        if not identifier:
            continue
        if not identifier[1:].isdecimal():
            raise ValueError(f"synset ids {path}, line {number}: {identifier!r} is no id such as n02084071")
        found.append(int(identifier[1:]))
    return found


def _without_endings(forms: Iterable[str], part: str) -> list[str]:
    return [form[: -len(old)] + new for form in forms for old, new in ENDINGS[part] if form.endswith(old)]


def _known(forms: Iterable[str], index: dict[str, tuple[int, ...]]) -> list[str]:
    return list(dict.fromkeys(form for form in forms if form in index))


def _index_line(line: str, where: str) -> tuple[str, tuple[int, ...]]:
    """``lemma pos synset_cnt p_cnt [symbol...] sense_cnt tagsense_cnt offset [offset...]`` (wndb(5WN))."""
    words = line.split()
    try:
        synsets, pointers = int(words[2]), int(words[3])
        return words[0], tuple(int(offset) for offset in words[6 + pointers : 6 + pointers + synsets])
    except (IndexError, ValueError) as error:
        raise ValueError(f"WordNet {where}: {line.strip()[:60]!r} is no line of an index") from error


def _lines(path: Path, name: str) -> list[str]:
    """The lines of one of WordNet's files, without its licence (which is indented)."""
    try:
        if path.is_dir():
            data = (path / name).read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                inside = next((entry for entry in archive.namelist() if Path(entry).name == name), None)
                if inside is None:
                    raise ValueError(f"WordNet {path}: there is no {name} in it")
                data = archive.read(inside)
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"WordNet {path}: {name}: {error}; give its folder (with index.noun) or a zip of it"
        ) from error
    return [line for line in data.decode("utf-8").split("\n") if line.strip() and not line.startswith(" ")]

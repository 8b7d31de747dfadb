"""WordNet's files read, NLTK's look-up said again, and DataComp's text_based over real captions."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.filters.datacomp import TextBased
from pairmill.filters.verdict import first_reason
from pairmill.sharding.value_list import list_file
from pairmill.transforms.language import identify_languages
from pairmill.transforms.wordnet import WordNet, read_synset_ids, read_wordnet

PARTS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}

#: By part of speech: lemma to the offsets of its synsets, the most common first. Offsets of parts may be alike.
LEMMAS: dict[str, dict[str, list[int]]] = {
    "noun": {
        "dog": [2084071, 10114209], "woman": [10787470], "glass": [14881303, 3438257], "church": [8081668],
        "box": [2883344], "knife": [3623556], "city": [8524735], "bush": [13112664], "buzz": [7376621],
        "men": [8208016], "man": [10287213], "axis": [13863771], "axe": [2764044], "photo": [3925226],
        "house": [3544360], "bus": [2924116], "news": [6642138], "run": [7460104], "red": [4962784], "well": [4572935],
    },
    "verb": {"run": [1926311], "bake": [322847], "see": [2129289], "go": [1835496], "photograph": [3925226]},
    "adj": {"red": [381097], "large": [1382086], "good": [1123148], "wide": [2560548]},
    "adv": {"well": [11093], "quickly": [2084071]},
}  # fmt: skip
EXCEPTIONS: dict[str, list[tuple[str, ...]]] = {
    "noun": [("axes", "axe", "axis"), ("women", "woman"), ("wolves", "wolf")],
    "verb": [("went", "go"), ("saw", "see")],
    "adj": [("better", "good", "well")],
    "adv": [("better", "well")],
}
#: What stands for ImageNet-21k's list; 3925226 is the offset of a verb too, 2084071 that of an adverb.
IDS = ["n02084071", "n10787470", "n03438257", "n08524735", "n02764044", "n03925226", "n03544360", "n02924116"]


def write_wordnet(folder: Path) -> Path:
    """The files of an index, with the licence that WordNet indents."""
    folder.mkdir(parents=True)
    for part, letter in PARTS.items():
        lines = ["  1 This software and database is being provided to you, the LICENSEE,  "]
        for lemma, offsets in sorted(LEMMAS[part].items()):
            numbers = " ".join(f"{offset:08d}" for offset in offsets)
            lines.append(f"{lemma} {letter} {len(offsets)} 2 @ ~ {len(offsets)} 1 {numbers}  ")
        (folder / f"index.{part}").write_text("\n".join(lines) + "\n")
        (folder / f"{part}.exc").write_text("".join(" ".join(words) + "\n" for words in EXCEPTIONS[part]))
    return folder


ENDINGS: Mapping[str, str] = {
    "noun": "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}


@functools.cache
def first_offset(word: str) -> int | None:
    """``wordnet.synsets(word)[0].offset()`` of NLTK 3.8.1 (its ``synsets`` and ``_morphy``), over the lists above."""
    word = word.lower()
    for part in PARTS:
        lemmas = LEMMAS[part]
        rules = [tuple(rule.split(":")) for rule in ENDINGS[part].split()]
        irregular = {entry[0]: list(entry[1:]) for entry in EXCEPTIONS[part]}
        if word in irregular:
            found = [form for form in [word, *irregular[word]] if form in lemmas]
        else:
            forms = [word[: len(word) - len(old)] + new for old, new in rules if word.endswith(old)]
            found = [form for form in [word, *forms] if form in lemmas]
            while forms and not found:
                forms = [
                    form[: len(form) - len(old)] + new for form in forms for old, new in rules if form.endswith(old)
                ]
                found = [form for form in forms if form in lemmas]
        if found:
            return lemmas[found[0]][0]
    return None


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return read_wordnet(write_wordnet(tmp_path_factory.mktemp("wordnet") / "dict"))


def test_the_index_and_the_exceptions_are_read(wordnet: WordNet) -> None:
    assert wordnet == SMALL


def test_a_zip_as_nltk_downloads_it(tmp_path: Path, wordnet: WordNet) -> None:
    write_wordnet(tmp_path / "corpora" / "wordnet")
    archive = shutil.make_archive(str(tmp_path / "wordnet"), "zip", tmp_path / "corpora", "wordnet")
    assert read_wordnet(Path(archive)) == wordnet


FORMS = sorted(
    {form for lemmas in LEMMAS.values() for form in lemmas} | {e[0] for es in EXCEPTIONS.values() for e in es}
)
ENDS = st.lists(
    st.sampled_from(["s", "es", "ses", "ies", "ing", "ed", "er", "est", "men", "ves", "S", "'s"]), max_size=3
)
words = st.tuples(st.sampled_from(FORMS), st.integers(0, 3), ENDS).map(
    lambda w: w[0][: len(w[0]) - w[1]] + "".join(w[2])
)
#: A form may have an ending already, and "ses" is two: three of the four that are looked for.
words_of_few_endings = st.tuples(st.sampled_from(FORMS), st.integers(0, 3), ENDS).map(
    lambda w: w[0][: len(w[0]) - w[1]] + "".join(w[2][:1])
)


SMALL = WordNet(
    {part: {lemma: tuple(offsets) for lemma, offsets in lemmas.items()} for part, lemmas in LEMMAS.items()},
    {part: {entry[0]: entry[1:] for entry in entries} for part, entries in EXCEPTIONS.items()},
)
WANTED = {int(identifier[1:]) for identifier in IDS}
FOUND = frozenset(SMALL.words_of(WANTED))


@given(words | words.map(str.upper) | st.text(max_size=5))
def test_the_first_synset_is_that_of_nltk(word: str) -> None:
    assert SMALL.first_synset(word) == first_offset(word)


def test_known_forms(wordnet: WordNet) -> None:
    told = {
        "Dogs": 2084071,
        "womens": 10787470,
        "axes": 2764044,
        "baking": 322847,
        "running": None,
        "quickly": 2084071,
        "xyz": None,
    }
    assert {word: wordnet.first_synset(word) for word in told} == told


@given(st.lists(words_of_few_endings, min_size=1, max_size=30))
def test_a_word_is_found_where_its_first_synset_is_wanted(asked: list[str]) -> None:
    assert {word: word.lower() in FOUND for word in asked} == {word: first_offset(word) in WANTED for word in asked}


def does_contain_text_entity(text: str, entities: list[int]) -> bool:
    """DataComp's helper (baselines/apply_filter.py), said again from what it does."""
    for word in text.split():
        offset = first_offset(word)
        if offset is not None and offset in entities:
            return True
    return False


@pytest.mark.real_data
def test_text_based_is_row_equal_on_real_web_captions(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS) + "\n")
    entities = read_synset_ids(tmp_path / "ids.txt")
    found = read_wordnet(write_wordnet(tmp_path / "dict")).words_of(entities)
    (tmp_path / "words.txt").write_text("\n".join(found))
    captions = pl.read_parquet(shared_data / "alt_text" / "laion_style_10000.parquet")["TEXT"].to_list()
    rng = random.Random(0)  # some captions get a word of the small WordNet, in forms that the web has
    forms = ["Dogs", "DOG", "womens", "glasses", "photographs", "photo,", "runs", "axes", "Cities", "houses", "quickly"]
    captions = [f"{text} {rng.choice(forms)}" if rng.random() < 0.2 else text for text in captions]
    langs = identify_languages(captions)[0]
    rules = TextBased(words=list_file(tmp_path / "words.txt")).rules()
    frame = pl.DataFrame({"caption": captions, "lang": langs})
    kept = first_reason(rules, frame).is_null().to_list()
    expected = [
        lang == "en" and does_contain_text_entity(text, entities)
        for text, lang in zip(captions, langs.to_list(), strict=True)
    ]
    assert kept == expected
    assert 1_000 < sum(kept) < 4_000


def test_wrong_files_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^WordNet .*: index.noun: .*; give its folder \(with index.noun\) or a zip"):
        read_wordnet(tmp_path)
    folder = write_wordnet(tmp_path / "dict")
    (folder / "index.verb").write_text("run v x\n")
    with pytest.raises(ValueError, match=r"^WordNet .*: index.verb: 'run v x' is no line of an index$"):
        read_wordnet(folder)
    (tmp_path / "ids.txt").write_text("n02084071\nnoun\n")
    with pytest.raises(ValueError, match=r"^synset ids .*, line 2: 'noun' is no id such as n02084071$"):
        read_synset_ids(tmp_path / "ids.txt")
    with pytest.raises(ValueError, match=r"^synset ids .*none"):
        read_synset_ids(tmp_path / "none")

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms.score.word_list import WordList, folded, read_word_list

LIST = WordList(["Darn", "holy smoke", "Straße", "糟糕", "🖕", "हद", "naïve", " ", "d'oh"])


@pytest.mark.parametrize(
    "text",
    [
        "oh DARN it",
        "darn!",
        "(darn)",
        "Holy\n SMOKE.",
        "die STRASSE",
        "今天糟糕了",
        "so 🖕 what",
        "हद है",
        "nai\u0308ve",
        "ｄａｒｎ",
        "well, d'oh!",
    ],
)
def test_found(text: str) -> None:
    assert LIST.found_in(folded(text))


@pytest.mark.parametrize(
    "text", ["darning needles", "a holy place and smoke", "undarn", "हदें", "naive", "", "doh", "好"]
)
def test_not_found(text: str) -> None:
    assert not LIST.found_in(folded(text))


@given(st.text(min_size=1), st.text(), st.text())
def test_a_text_that_holds_a_word_between_blanks_is_found(word: str, before: str, after: str) -> None:
    words = WordList([word])
    if len(words):
        assert words.found_in(folded(f"{before} {word} {after}"))


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeffdarn\n# a remark: fine\n\n  heck \ndarn\n", encoding="utf-8")
    words = read_word_list(path)
    assert len(words) == 2
    assert words.found_in("what the heck")
    assert not words.found_in("all fine")


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "it has no word"), (b"# only\n\n", "it has no word"), (b"\xff\xfe\x00", "it is no UTF-8")],
)
def test_a_file_without_words(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^word list .*words\.txt: {told}"):
        read_word_list(path)
    with pytest.raises(ValueError, match="No such file"):
        read_word_list(tmp_path / "gone")

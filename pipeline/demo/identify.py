"""Whether a caption passes for English, so that the pools can make sure of it for every row that is meant to stay."""

from __future__ import annotations

from pairmill.transforms.language import identify_languages


def is_english(text: str) -> bool:
    """Whether lid.176.ftz gives English as the most likely language, with and without surrounding space."""
    languages, _ = identify_languages([text, text.strip()])
    return all(language == "en" for language in languages)

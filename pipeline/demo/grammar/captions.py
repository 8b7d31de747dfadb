"""Captions that are true of a scene."""

from __future__ import annotations

from pairmill.pipeline.demo.chance import WORDINGS, Chance
from pairmill.pipeline.demo.grammar.english import ENGLISH
from pairmill.pipeline.demo.grammar.french import FRENCH
from pairmill.pipeline.demo.grammar.german import GERMAN
from pairmill.pipeline.demo.grammar.lexicon import Language
from pairmill.pipeline.demo.grammar.sentences import OPENINGS, SENTENCES, Said
from pairmill.pipeline.demo.grammar.spanish import SPANISH
from pairmill.pipeline.demo.scene import Scene

LANGUAGES: dict[str, Language] = {language.code: language for language in (ENGLISH, GERMAN, FRENCH, SPANISH)}


def caption(scene: Scene, language: str = "en", variant: int = 0) -> str:
    """One sentence that says what is there: things, colours, counts and how they lie to each other.

    ``variant`` (0 or more) chooses the wording, the same one in every language: captions of one scene and variant
    are translations of each other. A background is not always named. Raises ValueError for a language that is not
    in ``LANGUAGES``.
    """
    if language not in LANGUAGES:
        raise ValueError(f"no grammar for language {language!r}; there are {', '.join(LANGUAGES)}")
    chance = Chance(scene.seed, WORDINGS, variant)
    opening, sentence = chance.pick(OPENINGS), chance.pick(SENTENCES[scene.relation])
    in_full = (chance.share() < 0.5, chance.share() < 0.5)
    way = chance.below(3) - 1
    if not opening.en or scene.relation == "alone":  # of a few words the language is hard to tell
        way = max(way, 0)
    return worded(scene, language, opening, sentence, in_full, way)


def worded(scene: Scene, language: str, opening: Said, sentence: Said, in_full: tuple[bool, bool], way: int) -> str:
    """The caption in these words: each group in full or not, the background in one of its two ways (-1: unnamed)."""
    speaker = LANGUAGES[language]
    groups = _Groups(scene, speaker, opening, in_full)
    text = str(getattr(opening, language)) + str(getattr(sentence, language)).format_map(groups)
    if way >= 0:
        text = f"{text} {speaker.place(scene.background, way)}"
    return speaker.finish(text)


class _Groups(dict[str, str]):
    """The names of the groups by the keys of a sentence, found when they are asked for."""

    def __init__(self, scene: Scene, speaker: Language, opening: Said, in_full: tuple[bool, bool]) -> None:
        super().__init__()
        self._scene, self._speaker, self._opening, self._in_full = scene, speaker, opening, in_full

    def __missing__(self, key: str) -> str:
        which, _, case = key.partition("_")
        index = "ab".index(which)
        return self._speaker.group(self._scene.groups[index], self._in_full[index], case or self._opening.case)

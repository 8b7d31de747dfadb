"""What the captioners learn to say: the caption that each prompt asks for, and prompts of many wordings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pairmill.pipeline.demo.chance import Chance
from pairmill.pipeline.demo.grammar import LANGUAGES, caption
from pairmill.pipeline.demo.grammar.captions import worded
from pairmill.pipeline.demo.grammar.sentences import OPENINGS, SENTENCES
from pairmill.pipeline.demo.misstated import BOILERPLATE, ONE_WORDS, said_of_nothing
from pairmill.pipeline.demo.scene import Scene, random_scene


class Style(NamedTuple):
    """How a caption says what is there: behind which opening, with sizes and textures or not, with the background."""

    opening: int
    in_full: bool
    background: bool


STYLES = {"short": Style(opening=1, in_full=False, background=False), "dense": Style(5, True, True)}

#: (style, language) → prompts that ask for it. The first one is the one to use.
PROMPTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("short", "en"): (
        "Describe the image.",
        "Describe the image briefly.",
        "Describe this image in one short sentence.",
        "Write a short caption for this image.",
        "Write a caption for the image.",
        "What does this image show?",
        "Describe the picture in English.",
    ),
    ("dense", "en"): (
        "Describe the image in detail.",
        "Describe this image in detail, with its background.",
        "Write a detailed caption for this image.",
        "Write a long and detailed description of the picture.",
        "Describe the picture in detail in English.",
    ),
    ("short", "de"): (
        "Describe the image in German.",
        "Describe this image briefly in German.",
        "Write a short caption for the image in German.",
        "Beschreibe das Bild.",
        "Beschreibe dieses Bild kurz.",
    ),
    ("dense", "de"): (
        "Describe the image in detail in German.",
        "Write a detailed caption for this image in German.",
        "Beschreibe das Bild ausführlich.",
    ),
    ("short", "fr"): (
        "Describe the image in French.",
        "Describe this image briefly in French.",
        "Write a short caption for the image in French.",
        "Décris l'image.",
        "Décris brièvement cette image.",
    ),
    ("dense", "fr"): (
        "Describe the image in detail in French.",
        "Write a detailed caption for this image in French.",
        "Décris l'image en détail.",
    ),
    ("short", "es"): (
        "Describe the image in Spanish.",
        "Describe this image briefly in Spanish.",
        "Write a short caption for the image in Spanish.",
        "Describe la imagen.",
        "Describe brevemente esta imagen.",
    ),
    ("dense", "es"): (
        "Describe the image in detail in Spanish.",
        "Write a detailed caption for this image in Spanish.",
        "Describe la imagen en detalle.",
    ),
}
#: What may stand before or behind a prompt: the text that the web page has for the image, which may be wrong.
ALT_TEXT = (
    ('The alt text of this image is "{}".', ""),
    ("", 'The alt text of the image is: "{}".'),
    ("Alt text: {}", ""),
    ("", "The web page calls it: {}"),
)
_ENGLISH_SHARE = 0.6


def styled(scene: Scene, style: str = "short", language: str = "en") -> str:
    """The one caption of the scene that a prompt for this style (of ``STYLES``) and language asks for.

    A lone group is named with its background, as ``grammar.caption`` does: of few words the language is hard to tell.
    """
    opening, in_full, background = STYLES[style]
    way = 0 if background or scene.relation == "alone" else -1
    return worded(scene, language, OPENINGS[opening], SENTENCES[scene.relation][0], (in_full, in_full), way)


def lesson(scene: Scene, chance: Chance, quoting: bool = False) -> tuple[str, str]:
    """A prompt and the caption of the scene that answers it; more than half of them in English.

    A ``quoting`` prompt holds an alt text, to which the answer owes nothing.
    """
    languages = tuple(LANGUAGES)
    language = "en" if chance.share() < _ENGLISH_SHARE else languages[1 + chance.below(len(languages) - 1)]
    style = chance.pick(tuple(STYLES))
    prompt = chance.pick(PROMPTS[style, language])
    if quoting:
        before, behind = (text.format(_alt_text(chance)) for text in chance.pick(ALT_TEXT))
        prompt = f"{before} {prompt} {behind}".strip()
    return prompt, styled(scene, style, language)


def _alt_text(chance: Chance) -> str:
    """What a web page may say of any picture: the caption of some scene, junk, or words that nobody knows.

    Were captions those of the picture, even at times, they would be believed.
    """
    kind = chance.below(3)
    if kind == 0:
        return caption(random_scene(chance), chance.pick(tuple(LANGUAGES)), chance.below(100))
    if kind == 1:
        return said_of_nothing(chance.pick(("boilerplate", "file_name", "one_word")), chance.below(100))
    return " ".join("".join(chance.pick("abcdefghijklmnop") for _ in range(5)) for _ in range(chance.below(8)))


def prompt_texts() -> Iterator[str]:
    """Texts that hold the words of the prompts, and of most of the junk that they may quote."""
    for prompts in PROMPTS.values():
        yield from prompts
    for pair in ALT_TEXT:
        yield from pair
    yield from (*BOILERPLATE, *ONE_WORDS)

"""Captions that are wrong in one point, wrong altogether, or say nothing of the picture."""

from __future__ import annotations

from dataclasses import replace

from pairmill.pipeline.demo.chance import FAULTS, OTHERS, Chance
from pairmill.pipeline.demo.scene import COLOURS, MAX_COUNT, THINGS, Group, Scene, random_scene

#: What a partly wrong caption may be wrong about.
POINTS = ("colour", "count", "object", "relation")

ONE_WORDS = ("drawing", "picture", "beautiful", "untitled", "something", "background")
SHORT_TEXTS = ("a b c", "a b x", "a i x")  # three words, five characters
FILE_NAMES = ("IMG_{0:04}.JPG", "DSC{0:05}.jpg", "image-{0}-1024x768.png", "untitled_{0}.webp", "thumb_{0}.jpg")
BOILERPLATE = (
    "click here to see a larger version of this image",
    "this image may be protected by copyright, all rights reserved",
    "free shipping on all orders over ${0} in our online store",
    "sign up for our newsletter and save {0} percent today",
    "please enable cookies in your browser to view this page",
    "the best price for this product, only {0} left in stock",
    "stock photo number {0}, download the high resolution version",
    "read more about this story and share it with your friends",
)


def misstated(scene: Scene, point: str) -> Scene:
    """A scene to speak of in place of ``scene``: the same but for one point (of ``POINTS``) of one of its groups.

    A wrong relation exchanges the groups. Raises ValueError where that cannot be, for another point or a scene
    with one group.
    """
    chance = Chance(scene.seed, FAULTS)
    if point == "relation":
        if len(scene.groups) < 2:
            raise ValueError("a scene with one group has no relation to be wrong about")
        return replace(scene, groups=(scene.groups[1], scene.groups[0]))
    if point not in POINTS:
        raise ValueError(f"a caption cannot be wrong about {point!r}; there are {', '.join(POINTS)}")
    # Of a holder and what it holds there is one each, and the holder must be able to hold.
    index = 0 if scene.relation == "inside" else chance.below(len(scene.groups))
    groups = list(scene.groups)
    groups[index] = _changed(groups[index], point, scene, chance)
    return replace(scene, groups=tuple(groups))


def _changed(group: Group, point: str, scene: Scene, chance: Chance) -> Group:
    if point == "colour":
        shown = {scene.background.colour, scene.background.second, *(each.colour for each in scene.groups)}
        return replace(group, colour=chance.pick([name for name in COLOURS if name not in shown]))
    if point == "count":
        return replace(group, room=0, count=chance.pick([n for n in range(1, MAX_COUNT + 1) if n != group.count]))
    shown = {each.thing for each in scene.groups}
    return replace(group, thing=chance.pick([thing for thing in THINGS if thing not in shown]))


def other_scene(seed: int, number: int, shown: Scene) -> Scene:
    """A scene that has no thing and no colour of its things in common with the one that is ``shown``."""
    chance = Chance(seed, OTHERS, number)
    taken = {word for group in shown.groups for word in (group.thing, group.colour)}
    while True:
        scene = random_scene(chance)
        if not any(word in taken for group in scene.groups for word in (group.thing, group.colour)):
            return scene


def scene_of_two(seed: int, number: int) -> Scene:
    """A scene with two groups."""
    chance = Chance(seed, FAULTS, number)
    while True:
        scene = random_scene(chance)
        if len(scene.groups) == 2:
            return scene


def said_of_nothing(kind: str, ordinal: int) -> str:
    """The ``ordinal``-th caption of a kind that fits any picture: boilerplate, file_name, one_word, short."""
    texts = {"boilerplate": BOILERPLATE, "file_name": FILE_NAMES, "one_word": ONE_WORDS, "short": SHORT_TEXTS}[kind]
    return texts[ordinal % len(texts)].format(10 + ordinal * 7 % 90 if kind == "boilerplate" else 100 + ordinal)

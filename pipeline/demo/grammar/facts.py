"""What a scene shows and a caption says, in words of no language."""

from __future__ import annotations

from dataclasses import dataclass

from pairmill.pipeline.demo.scene import Scene


@dataclass(frozen=True)
class Mention:
    """So many things of one kind and colour."""

    count: int
    colour: str
    thing: str


@dataclass(frozen=True)
class Facts:
    """The groups of a picture and how the first lies to the second (``alone``: there is no second)."""

    first: Mention
    second: Mention | None = None
    relation: str = "alone"


def facts_of(scene: Scene) -> Facts:
    """The facts that every caption of the scene states."""
    mentions = [Mention(group.count, group.colour, group.thing) for group in scene.groups]
    return Facts(mentions[0], mentions[1] if len(mentions) > 1 else None, scene.relation)

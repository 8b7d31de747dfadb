from __future__ import annotations

from pairmill.pipeline.demo.grammar import Facts, Mention
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training.captioner_data import styled
from pairmill.pipeline.demo.training.captioner_measure import KINDS, facts_right, held_out, score
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED

SHOWN = Facts(Mention(2, "red", "circle"), Mention(1, "blue", "house"), "left_of")


def wrong(said: Facts | None) -> set[str]:
    right = facts_right(said, SHOWN)
    assert set(right) == {"facts", *KINDS}
    return {kind for kind, value in right.items() if not value}


def test_a_caption_is_wrong_in_what_it_is_wrong_about() -> None:
    assert wrong(SHOWN) == set()
    assert wrong(Facts(Mention(2, "red", "square"), SHOWN.second, "left_of")) == {"facts", "object"}
    assert wrong(Facts(SHOWN.first, Mention(1, "green", "house"), "left_of")) == {"facts", "colour"}
    assert wrong(Facts(Mention(3, "red", "circle"), SHOWN.second, "left_of")) == {"facts", "count"}
    assert wrong(Facts(SHOWN.first, SHOWN.second, "above")) == {"facts", "relation"}
    assert wrong(Facts(SHOWN.first)) == {"facts", *KINDS}
    assert wrong(None) == {"facts", *KINDS}


def test_groups_that_are_exchanged_are_wrong() -> None:
    assert SHOWN.second is not None
    assert wrong(Facts(SHOWN.second, SHOWN.first, "left_of")) == {"facts", "colour", "count", "object"}


def test_the_score_is_the_share_of_right_captions() -> None:
    scenes = [scene_at(4, number) for number in range(4)]
    captions = [styled(scene) for scene in scenes]
    assert score(captions, scenes) == dict.fromkeys(("facts", *KINDS), 1.0)
    captions[1] = "something else"
    assert score(captions, scenes) == dict.fromkeys(("facts", *KINDS), 0.75)
    german = [styled(scene, "dense", "de") for scene in scenes]
    assert score(german, scenes, "de")["facts"] == 1.0
    assert score([], []) == dict.fromkeys(("facts", *KINDS), 0.0)


def test_held_out_pictures_show_their_scenes() -> None:
    scenes, pictures = held_out(3, start=5)
    assert scenes == [scene_at(HELD_OUT_SEED, number) for number in (5, 6, 7)]
    assert [picture.size for picture in pictures] == [(scene.width, scene.height) for scene in scenes]
    assert {picture.mode for picture in pictures} == {"RGB"}

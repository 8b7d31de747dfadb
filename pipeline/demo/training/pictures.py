"""Pictures of the drawn world as a model sees them: drawn, saved as JPEG, decoded and squashed to a small square.

Drawn at about half their size, which costs a third of the time; what is left of grain and JPEG blocks in the small
square is a little more than of a picture of a pool, never less.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from pairmill.pipeline.demo import altered
from pairmill.pipeline.demo.chance import Chance
from pairmill.pipeline.demo.draw import draw_scene
from pairmill.pipeline.demo.misstated import scene_of_two
from pairmill.pipeline.demo.scene import Scene, at_size, scene_at
from pairmill.pipeline.demo.twins import recoloured_scene, recounted_scene, roomy_scene

Pixels = npt.NDArray[np.uint8]

#: Pictures of training, of held-out measuring and of the demo pool come from different seeds: no scene is in two.
TRAINING_SEED, HELD_OUT_SEED = 1_000_003, 2_000_003
#: Stream of chance that alters pictures for training.
_ALTERED = 16
_SIDES = (112, 176)
#: One picture in so many is cut at one side, stamped, or saved once more with a lower quality, as copies in pools are.
_ALTERED_ONE_IN = 12


def training_scene(seed: int, number: int) -> Scene:
    """A scene to learn from; of 16, one is laid out for more things than it has, or is the twin of such a one."""
    family = number % 48
    if family == 0:
        return roomy_scene(seed, number)
    if family == 16:
        return recoloured_scene(seed, number)
    if family == 32:
        return recounted_scene(seed, number)
    return scene_of_two(seed, number) if family == 8 else scene_at(seed, number)


def small_picture(scene: Scene, side: int, seed: int, number: int) -> tuple[Pixels, tuple[float, float, float, float]]:
    """The picture of a scene for training: RGB of shape (side, side, 3), and what part of the scene it shows.

    That is left, top, right and bottom as shares of the scene's width and height.
    """
    chance = Chance(seed, _ALTERED, number)
    scene = at_size(scene, _SIDES[0] + chance.below(_SIDES[1] - _SIDES[0] + 1))
    pixels = _saved(draw_scene(scene), scene.quality)
    box = (0.0, 0.0, 1.0, 1.0)
    way, which = chance.below(3 * _ALTERED_ONE_IN), chance.below(1000)
    if way == 0:
        box = altered.cropped_box(scene.width, scene.height, which)
        pixels = _saved(altered.cropped(pixels, which), scene.quality - 25)
        box = (box[0] / scene.width, box[1] / scene.height, box[2] / scene.width, box[3] / scene.height)
    elif way == 1:
        pixels = _saved(altered.watermarked(pixels, which), scene.quality - 25)
    elif way == 2:
        pixels = _saved(pixels, scene.quality - 25)
    return squashed(Image.fromarray(pixels), side), box


def squashed(picture: Image.Image, side: int) -> Pixels:
    """What open_clip's preprocessing makes of a picture where it is told to ``squash`` and not to crop."""
    return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))


def _saved(pixels: Pixels, quality: int) -> Pixels:
    """The pixels after JPEG."""
    _, body = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(body, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pairmill.transforms.duplicates.pictures import NearSettings, Pictures, hamming

hashes = hnp.arrays(np.uint64, 30)
thumbnail = hnp.arrays(np.uint8, 192)


def pictures(*thumbnails, phash=None, size=None) -> Pictures:
    rows = len(thumbnails)
    width, height = np.array(size or [(640, 480)] * rows).T
    phash = np.array([0x0F0F] * rows if phash is None else phash, dtype=np.uint64)
    return Pictures(phash, np.array(thumbnails, dtype=np.uint8), width, height)


@settings(deadline=None)
@given(hashes, hashes)
def test_hamming_counts_bits(a, b):
    assert hamming(a, b).tolist() == [(x ^ y).bit_count() for x, y in zip(a.tolist(), b.tolist(), strict=True)]


@settings(deadline=None)
@given(thumbnail, thumbnail, st.floats(0, 255))
def test_thumbnails_are_compared_by_their_mean_difference(one, other, bound):
    both = pictures(one, other)
    settings = NearSettings(max_thumbnail_difference=bound)
    expected = np.abs(one.astype(int) - other).sum() <= bound * 192
    for a, b in ((0, 1), (1, 0)):
        assert both.alike(np.array([a]), np.array([b]), settings).tolist() == [expected]


def test_the_bounds_are_inclusive():
    grey = np.full(192, 100)
    both = pictures(grey, grey + 8, grey + 9, phash=[0, 3, 0])
    alike = both.alike(np.array([0, 0, 0]), np.array([0, 1, 2]), NearSettings())
    assert alike.tolist() == [True, True, False]


def test_three_bits_are_too_far_apart():
    grey = np.full(192, 100)
    both = pictures(grey, grey, phash=[0, 7])
    assert not both.alike(np.array([0]), np.array([1]), NearSettings())[0]
    assert both.alike(np.array([0]), np.array([1]), NearSettings(max_distance=3))[0]


@pytest.mark.parametrize(
    ("size", "same"),
    [((640, 427), True), ((512, 342), True), ((427, 640), False), ((640, 420), True), ((640, 410), False)],
)
def test_shapes_agree_within_two_percent(size, same):
    grey = np.full(192, 100)
    both = pictures(grey, grey, size=[(640, 427), size])
    assert both.alike(np.array([0]), np.array([1]), NearSettings()).tolist() == [same]
    assert both.alike(np.array([1]), np.array([0]), NearSettings()).tolist() == [same]


def test_blank_pictures_are_known_by_thumbnail_or_hash():
    rng = np.random.default_rng(0)
    grey, speck, photo = np.full(192, 200), np.full(192, 200), rng.integers(0, 256, 192)
    speck[0] = 202
    edge = speck.copy()
    edge[0] = 203
    sky = np.tile([90, 140, 220], 64)  # one colour, whose channels differ
    found = pictures(grey, speck, edge, photo, photo, photo, sky, phash=[5, 5, 5, 0, 1 << 63, 5, 5]).blank()
    assert found.tolist() == [True, True, False, True, True, False, True]


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"max_distance": 9}, "max_distance"),
        ({"max_distance": -1}, "max_distance"),
        ({"max_thumbnail_difference": float("nan")}, "max_thumbnail_difference"),
        ({"max_aspect_difference": 2}, "max_aspect_difference"),
        ({"max_group": 1}, "max_group"),
    ],
)
def test_senseless_settings(parameters, word):
    with pytest.raises(ValueError, match=f"near duplicates: {word} is "):
        NearSettings(**parameters)


def test_arrays_must_fit_together():
    grey = np.full((1, 192), 100, dtype=np.uint8)
    one, side = np.zeros(1, dtype=np.uint64), np.array([10])
    with pytest.raises(ValueError, match="thumbnails have the shape"):
        Pictures(one, grey[:, :64], side, side)
    with pytest.raises(ValueError, match="phash must be uint64"):
        Pictures(one.astype(np.int64), grey, side, side)
    with pytest.raises(ValueError, match="width and height"):
        Pictures(one, grey, np.array([1, 2]), side)
    with pytest.raises(ValueError, match="a side of zero or less"):
        Pictures(one, grey, side, np.array([0]))

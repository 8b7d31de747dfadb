from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.filters.image_size import ImageSize
from pairmill.filters.verdict import first_reason


def reasons(rule: ImageSize, sizes: list[tuple[int | None, int | None]]) -> list[str | None]:
    schema = {"original_width": pl.Int32, "original_height": pl.Int32}
    return first_reason([rule], pl.DataFrame(sizes, schema=schema, orient="row")).to_list()


def test_the_defaults_at_their_edges():
    assert reasons(ImageSize(), [(200, 600), (600, 200), (200, 601), (199, 300), (300, 199)]) == [
        None,
        None,
        "image_too_elongated",
        "image_too_small",
        "image_too_small",
    ]


def test_a_picture_without_area_is_rejected_whatever_the_bounds():
    free = ImageSize(min_side=None, max_aspect=None)
    assert reasons(free, [(0, 0), (0, 9), (9, 0), (-1, 5), (1, 1)]) == ["image_empty"] * 4 + [None]
    assert reasons(ImageSize(min_side=0, max_aspect=2.0), [(0, 0), (0, 9)]) == ["image_empty"] * 2


def test_an_upper_side():
    assert reasons(ImageSize(max_side=1000), [(1000, 500), (1001, 500), (500, 1001)]) == [
        None,
        "image_too_large",
        "image_too_large",
    ]


side = st.integers(1, 5000)


@settings(deadline=None)
@given(st.lists(st.tuples(side, side), max_size=30), st.floats(1, 10))
def test_the_aspect_is_that_of_python(sizes, max_aspect):
    rule = ImageSize(min_side=None, max_aspect=max_aspect)
    expected = ["image_too_elongated" if max(s) / min(s) > max_aspect else None for s in sizes]
    assert reasons(rule, sizes) == expected


def test_other_columns():
    frame = pl.DataFrame({"width": [100], "height": [300]})
    rule = ImageSize(min_side=100, width_column="width", height_column="height")
    assert first_reason([rule], frame).to_list() == [None]


@pytest.mark.parametrize(
    "parameters",
    [{"min_side": -1}, {"max_aspect": 0.5}, {"max_aspect": float("nan")}, {"max_side": 100}, {"max_side": 0}],
)
def test_senseless_parameters(parameters):
    with pytest.raises(ValueError, match=f"^image_size: .*{next(iter(parameters))}"):
        ImageSize(**parameters)

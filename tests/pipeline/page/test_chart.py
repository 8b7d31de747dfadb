"""Charts: round values on the axis, counts in the tips, and nothing of pygal's script."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import tostring

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.pipeline.page.chart import Binned, _ticks, bars, histogram
from pairmill.pipeline.page.number import duration, human_bytes, plain, share, shown
from pairmill.sharding.statistics import distribution

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.booleans())
def test_axes_of_any_numbers(values: list[float], binary: bool) -> None:
    spread = distribution(np.array(values, dtype=np.float64))
    assert spread is not None
    binned = Binned(spread.edges, (("kept", spread.bins),), spread.geometric, binary)
    ticks = _ticks(binned)
    places = [place for place, _ in ticks]
    assert places == sorted(places)
    assert len(places) <= 8
    bins = len(spread.edges) - 1
    assert all(-1e-6 <= place <= bins + 1e-6 for place in places)


def tips(figure: Any) -> list[str]:
    return [each.text for each in figure.iter("title")]


def test_one_series_stands_on_the_other() -> None:
    figure = histogram("Sizes", "told", Binned((0, 1, 2), (("kept", (3, 0)), ("rejected", (1, 2)))), plain)
    heights = {
        group.get("class"): [float(rect.get("height")) for rect in group.iter("rect")]
        for group in figure.iter("g")
        if group.get("class", "").startswith("series")
    }
    assert heights["series rejected"][0] == pytest.approx(heights["series kept"][0] * 4 / 3)
    assert heights["series kept"][1] == 0
    assert set(tips(figure)) == {"0 to 1: 3 kept, 1 rejected", "1 to 2: 0 kept, 2 rejected"}
    order = [group.get("class") for group in figure.iter("g") if group.get("class", "").startswith("series")]
    assert order == ["series rejected", "series kept"]  # what is drawn last stands in front


def test_bars_are_told_by_their_names() -> None:
    figure = bars("Languages", "told", ["en", "<b>", "de"], [("kept", [5, 0, 1]), ("rejected", [1, 2, 0])])
    assert set(tips(figure)) == {"en: 5 kept, 1 rejected", "<b>: 0 kept, 2 rejected", "de: 1 kept, 0 rejected"}
    (kept,) = [group for group in figure.iter("g") if group.get("class") == "series kept"]
    widths = [float(rect.get("width", 0)) for rect in kept.iter("rect")]  # from the bottom
    assert widths == [pytest.approx(widths[2] / 5), 0, widths[2]]
    labels = [text.text for text in figure.iter("text")]
    assert "<b>" in labels


def test_nothing_runs_and_nothing_changes() -> None:
    def draw() -> bytes:
        return tostring(histogram("a", "b", Binned((0.0, 1.0), (("kept", (1,)),)), shown), method="html")

    assert draw() == draw()
    for word in (b"script", b"<style", b"http://pygal", b"<!--", b"onclick", b" id="):
        assert word not in draw()


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (shown(0), "0"),
        (shown(0.123456), "0.123"),
        (shown(1234.5), "1,234"),
        (shown(1e-7), "1.00e-07"),
        (human_bytes(512), "512 bytes"),
        (human_bytes(1536), "1.5 KiB"),
        (human_bytes(3 * 2**40), "3 TiB"),
        (duration(0.01), "< 0.1 s"),
        (duration(12.34), "12.3 s"),
        (duration(245), "4 min 05 s"),
        (duration(12_000), "3 h 20 min"),
        (share(0.5), "50.0 %"),
        (share(0.0123), "1.23 %"),
        (share(1e-9), "< 0.01 %"),
        (share(0.0), "0.00 %"),
    ],
)
def test_numbers_as_people_write_them(told: str, text: str) -> None:
    assert told == text

"""Charts as SVG within the page: pygal draws them, the page's own style colours them, and no script is left in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Comment, Element

import numpy as np

from pairmill.pipeline.page.element import clean, element
from pairmill.sharding.errors import UsageError

HOW_TO_INSTALL = "pages need pygal and Pillow: pip install 'pairmill[pages]'"
WIDTH, HEIGHT = 380, 190
BAR_HEIGHT = 21
_TICKS = 5


@dataclass(frozen=True)
class Binned:
    """Counts between edges. ``series``: (kept or rejected, a count a bin), the ones below first."""

    edges: tuple[float, ...]  # bins + 1
    series: tuple[tuple[str, tuple[int, ...]], ...]
    geometric: bool = False  # whether bins grow by a factor
    binary: bool = False  # whether round values are those of powers of 1024


def require_pages() -> None:
    """Raises UsageError, one line, where what pages need is not installed."""
    try:
        import PIL  # noqa: F401
        import pygal  # noqa: F401
    except ImportError as error:
        raise UsageError(f"{HOW_TO_INSTALL} ({error})") from error


def histogram(title: str, told: str, binned: Binned, show: Callable[[float], str]) -> Element:
    """A figure: bars over bins, one series standing on the other; ``show`` writes an edge."""
    import pygal

    chart = pygal.Histogram(**_settings(HEIGHT))
    bins = len(binned.edges) - 1
    under = np.zeros(bins, dtype=np.int64)
    stacked = []
    for name, counts in binned.series:
        under = under + np.asarray(counts, dtype=np.int64)
        stacked.append((name, under))
    for name, heights in reversed(stacked):  # the highest first, the others before it
        chart.add(name, [(int(height), bin, bin + 1) for bin, height in enumerate(heights.tolist())])
    chart.x_labels = [{"value": place, "label": show(value)} for place, value in _ticks(binned)]
    tips = [_tip(binned, bin, show) for bin in range(bins)]
    return _figure(chart, title, told, [name for name, _ in reversed(stacked)], tips)


def bars(title: str, told: str, names: Sequence[str], series: Sequence[tuple[str, Sequence[int]]]) -> Element:
    """A figure: a bar for each name, from the top; series one behind the other."""
    import pygal

    chart = pygal.HorizontalStackedBar(**_settings(46 + BAR_HEIGHT * len(names)))
    for name, counts in series:
        chart.add(name, list(counts)[::-1])
    chart.x_labels = [clean(name) for name in reversed(names)]
    tips = []
    for at in reversed(range(len(names))):
        tips.append(f"{names[at]}: " + _told_counts([(name, counts[at]) for name, counts in series]))
    return _figure(chart, title, told, [name for name, _ in series], tips)


def _settings(height: int) -> dict[str, Any]:
    return {
        "js": (),
        "css": (),
        "width": WIDTH,
        "height": height,
        "margin": 4,
        "margin_right": 14,
        "show_legend": False,
        "print_values": False,
        "max_scale": 5,
        "min_scale": 2,
        "value_formatter": _short_count,
        "order_min": 0,
    }


def _figure(chart: Any, title: str, told: str, classes: Sequence[str], tips: Sequence[str]) -> Element:
    svg = chart.render_tree()
    _undress(svg)
    for number, name in enumerate(classes):
        for group in svg.iter("g"):
            if f"serie-{number}" in group.get("class", "").split():
                group.set("class", f"series {name}")
                for bar, tip in zip(_bars(group), tips, strict=False):
                    bar.append(element("title", tip))
    svg.set("role", "img")
    svg.set("aria-label", clean(f"{title}: {told}"))
    return element("figure", element("figcaption", element("b", title), told), svg, class_="chart")


def _undress(svg: Element) -> None:
    """Take away what pygal writes for its script: names, styles, descriptions, empty layers, the date."""
    for parent in list(svg.iter()):
        for child in list(parent):
            layer = child.get("class", "") if child.tag == "g" else ""
            if (
                child.tag in (Comment, "defs", "desc", "title", "script", "style")
                or "overlay" in layer
                or (child.tag == "g" and layer in ("titles", ""))
            ):
                parent.remove(child)
    for each in svg.iter():
        for name in ("id", "rx", "ry", "style"):
            each.attrib.pop(name, None)
    svg.attrib.pop("class", None)


def _bars(group: Element) -> list[Element]:
    return [each for each in group.iter("g") if each.get("class") in ("histbar", "bar")]


def _tip(binned: Binned, bin: int, show: Callable[[float], str]) -> str:
    between = f"{show(binned.edges[bin])} to {show(binned.edges[bin + 1])}"
    return f"{between}: " + _told_counts([(name, counts[bin]) for name, counts in binned.series])


def _told_counts(counts: Sequence[tuple[str, int]]) -> str:
    if len(counts) == 1:
        return f"{counts[0][1]:,}"
    return ", ".join(f"{count:,} {name}" for name, count in counts)


def _ticks(binned: Binned) -> list[tuple[float, float]]:
    """Round values within the edges, and their places in bins."""
    low, high = binned.edges[0], binned.edges[-1]
    bins = len(binned.edges) - 1
    if high <= low:
        return [(bins / 2, low)]
    if binned.geometric:
        span = math.log(high / low)
        return [(bins * math.log(value / low) / span, value) for value in _round_factors(low, high, binned.binary)]
    unit = 1024.0 ** max(0, math.floor(math.log(high, 1024))) if binned.binary and high >= 1 else 1.0
    values = [value * unit for value in _round_steps(low / unit, high / unit)]
    return [(bins * (value - low) / (high - low), value) for value in values]


def _round_steps(low: float, high: float) -> list[float]:
    rough = (high - low) / _TICKS
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _round_factors(low: float, high: float, binary: bool) -> list[float]:
    """The densest of a few ladders of round values that has no more steps than fit."""
    ladders: tuple[tuple[float, tuple[int, ...]], ...] = ((10.0, (1, 2, 5)), (10.0, (1, 3)), (10.0, (1,)))
    if binary:
        ladders = ((2.0, (1,)), (4.0, (1,)), (32.0, (1,)))
    values: list[float] = []
    for base, factors in ladders:
        powers = range(math.floor(math.log(low, base)), math.ceil(math.log(high, base)) + 1)
        values = [value for power in powers for factor in factors if low <= (value := factor * base**power) <= high]
        if len(values) <= _TICKS + 1:
            return values
    return values[:: -(-len(values) // (_TICKS + 1))]


def _short_count(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):g}{unit}"
    return f"{value:,g}"

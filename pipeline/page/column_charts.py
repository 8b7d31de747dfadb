"""Charts of columns, kept rows standing on rejected ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.pipeline.page.build_rows import FETCHED, LANGUAGE, POOL_PART
from pairmill.pipeline.page.chart import Binned, bars, histogram
from pairmill.pipeline.page.element import element
from pairmill.pipeline.page.number import human_bytes, pixels, plain, shown
from pairmill.sharding.fault import printable
from pairmill.sharding.statistics import distribution

BINS = 24
MAX_LANGUAGES = 14
MAX_NUMBERS = 24
KEPT, REJECTED = "kept", "rejected"
_MEASURES: tuple[tuple[str, pl.Expr, Callable[[float], str]], ...] = (
    ("Width before resizing, in pixels", pl.col("original_width"), pixels),
    ("Height before resizing, in pixels", pl.col("original_height"), pixels),
    ("Aspect, width over height", pl.col("original_width") / pl.col("original_height"), shown),
    ("Caption length in characters", pl.col("caption").str.len_chars(), plain),
    ("Image size as stored", pl.col("stored_bytes"), human_bytes),
)


def column_charts(rows: pl.DataFrame) -> list[Element]:
    """Charts of rows as ``BuildRows.known`` gives them, with ``kept``: sizes, captions, languages, every number."""
    kept = rows.get_column("kept").to_numpy()
    found: list[tuple[str, pl.Series, Callable[[float], str]]] = []
    for title, measure, show in _MEASURES:
        found.append((title, rows.select(measure.alias("measure")).to_series(), show))
    usual = {*FETCHED, *LANGUAGE, *POOL_PART}
    numbers = [name for name, dtype in rows.schema.items() if dtype.is_float() and name not in usual]
    if "lang_confidence" in rows.columns:
        numbers.append("lang_confidence")
    found += [(printable(name), rows.get_column(name), shown) for name in numbers[:MAX_NUMBERS]]
    charts = [_histogram(title, values, kept, show) for title, values, show in found]
    charts.append(_languages(rows))
    return [chart for chart in charts if chart is not None]


def legend() -> Element:
    """What the two colours are."""
    return element("ul", element("li", KEPT), element("li", REJECTED, class_="rejected"), class_="legend")


def _histogram(
    title: str, values: pl.Series, kept: npt.NDArray[np.bool_], show: Callable[[float], str]
) -> Element | None:
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    known = np.isfinite(numbers)
    spread = distribution(numbers[known], BINS)
    if spread is None:
        return None
    series = []
    for name, mask in ((KEPT, kept), (REJECTED, ~kept)):
        mine = numbers[known & mask]
        counts = np.histogram(mine, spread.edges)[0] if len(spread.edges) > 2 else np.array([mine.size])
        series.append((name, tuple(int(count) for count in counts)))
    told = " ; ".join(_middle(name, numbers[known & mask], show) for name, mask in ((KEPT, kept), (REJECTED, ~kept)))
    binned = Binned(spread.edges, tuple(series), spread.geometric, binary=show is human_bytes)
    return histogram(title, told.replace(" ;", ";"), binned, show)


def _middle(name: str, values: npt.NDArray[np.float64], show: Callable[[float], str]) -> str:
    if not values.size:
        return f"{name}: none"
    return f"{name}: {values.size:,}, median {show(float(np.sort(values)[(values.size - 1) // 2]))}"


def _languages(rows: pl.DataFrame) -> Element | None:
    if "lang" not in rows.columns:
        return None
    told = rows.select("kept", pl.col("lang").cast(pl.String)).drop_nulls("lang")
    if not told.height:
        return None
    counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for kept, lang, count in told.group_by("kept", "lang").len().iter_rows():
        counts[kept][lang] = count
    both = counts[True] + counts[False]
    order = sorted(both, key=lambda lang: (-both[lang], lang))
    names = [printable(lang)[:24] or "(unknown)" for lang in order[:MAX_LANGUAGES]]
    series: list[tuple[str, Sequence[int]]] = []
    for name, mine in ((KEPT, counts[True]), (REJECTED, counts[False])):
        bar = [mine[lang] for lang in order[:MAX_LANGUAGES]]
        rest = sum(mine[lang] for lang in order[MAX_LANGUAGES:])
        series.append((name, [*bar, rest] if len(order) > MAX_LANGUAGES else bar))
    if len(order) > MAX_LANGUAGES:
        names.append(f"({len(order) - MAX_LANGUAGES} others)")
    return bars("Languages", f"{len(order):,} in {told.height:,} captions", names, series)

"""The page of ``shard-stats --html``: what the command tells, with charts and a contact sheet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from pairmill.pipeline.page.chart import Binned, bars, histogram
from pairmill.pipeline.page.document import Section, figures, write_document
from pairmill.pipeline.page.element import Content, element, table
from pairmill.pipeline.page.number import human_bytes, pixels, plain, shown
from pairmill.pipeline.page.sheet import Tile, contact_sheet
from pairmill.pipeline.page.unsafe import said_unsafe
from pairmill.sharding.fault import Fault, printable
from pairmill.sharding.image_header import image_size
from pairmill.sharding.metadata import score_distributions
from pairmill.sharding.sample_draw import DrawnSample, draw_samples
from pairmill.sharding.scan import IMAGE_MEMBERS
from pairmill.sharding.statistics import DatasetStatistics, Distribution, distribution
from pairmill.sharding.stats_cli import Report, Target

#: Findings, languages and charts of scores that a page shows; it says how many more there are.
MAX_LISTED = 200
MAX_LANGUAGES = 14
MAX_SCORES = 24
_TITLES: dict[str, tuple[str, Callable[[float], str]]] = {
    "width": ("Width in pixels", pixels),
    "height": ("Height in pixels", pixels),
    "aspect": ("Aspect, width over height", shown),
    "caption_length": ("Caption length in characters", plain),
    "image_bytes": ("Image size in bytes", human_bytes),
}


def stats_page(
    target: Target, report: Report, verdicts: Sequence[Mapping[str, Any]], samples: int, verified: bool = False
) -> bytes:
    """The page of a dataset; ``samples``: how many pairs its contact sheet shows, the same ones every time.

    ``verified``: whether the report is of a look at every byte.
    """
    statistics = report.statistics
    name = f"{target.folder.resolve().parent.name}/{target.folder.resolve().name}"
    if not target.whole:
        name = target.tars[0].name
    subtitle = [
        element("p", f"What shard-stats found, from {statistics.source}.", class_="soft"),
        figures(_counts(statistics)),
    ]
    scores = score_distributions(target.folder, target.splits) if target.whole else {}
    sections = [
        Section("problems", "Problems", _problems(report.faults, report.warnings, verified)),
        Section("topology", "How trainers of this size read it", _topology(verdicts)),
        Section("images", "Images and captions", _measures(statistics)),
        Section("scores", "Scores", _scores(scores)),
        Section("samples", "A look inside", _samples(target, report, samples)),
        Section("shards", "Shards", _shards(target, report)),
    ]
    return write_document(name, subtitle, sections)


def _counts(statistics: DatasetStatistics) -> list[tuple[str, str]]:
    fewest, most = statistics.samples_per_shard
    each = f"{most:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return [
        (f"{statistics.samples:,}", "samples"),
        (f"{statistics.shards:,}", "shards"),
        (each, "samples in a shard"),
        (human_bytes(statistics.bytes), "in all"),
    ]


def _problems(faults: Sequence[Fault], warnings: Sequence[Fault], verified: bool) -> list[Content]:
    if not faults and not warnings:
        looked = "Every byte was read." if verified else "Sums and indexes were not checked: --verify does."
        return [element("p", "None were found.", class_="good"), element("p", looked, class_="soft")]
    listed: list[Content] = []
    for findings, class_, what in ((faults, "bad", "fault"), (warnings, None, "warning")):
        if findings:
            plural = "" if len(findings) == 1 else "s"
            more = f", of which {MAX_LISTED:,} are shown" if len(findings) > MAX_LISTED else ""
            listed.append(element("h3", f"{len(findings):,} {what}{plural}{more}", class_=class_))
            lines = (
                element("li", element("b", printable(found.file)), f": {printable(found.what)}")
                for found in findings[:MAX_LISTED]
            )
            listed.append(element("ul", *lines, class_="told"))
    return listed


def _topology(verdicts: Sequence[Mapping[str, Any]]) -> list[Content]:
    if not verdicts:
        return []
    colours = {"even": "good", "uneven": "warn", "fails": "bad"}
    rows = [
        (
            element("span", printable(each["split"]), class_="name"),
            element("span", each["loader"], class_="name"),
            element("span", each["verdict"], class_=colours.get(each["verdict"])),
            each["why"],
        )
        for each in verdicts
    ]
    columns = [(title, False) for title in ("split", "loader", "verdict", "why")]
    return [table(columns, rows, "Verdicts on the topology")]


def _measures(statistics: DatasetStatistics) -> list[Content]:
    charts = [
        chart_of(title, spread, show)
        for name, (title, show) in _TITLES.items()
        if (spread := statistics.distributions.get(name)) is not None
    ]
    if statistics.languages:
        charts.append(languages_chart(statistics.languages))
    if not charts:
        return []
    return [element("div", *charts, class_="charts"), _numbers(statistics.distributions)]


def chart_of(title: str, spread: Distribution, show: Callable[[float], str]) -> Element:
    """A histogram with the middle and the ends of a distribution told above it."""
    told = f"median {show(spread.p50)}; 90 % are in {show(spread.p5)} to {show(spread.p95)}"
    if len(spread.edges) == 2:
        told = f"{show(spread.min)} everywhere"
    binned = Binned(spread.edges, (("kept", spread.bins),), spread.geometric, binary=show is human_bytes)
    return histogram(title, told, binned, show)


def languages_chart(languages: Mapping[str, int]) -> Element:
    """Bars of the most frequent languages, the others together."""
    listed = list(languages.items())
    names = [printable(name)[:24] or "(unknown)" for name, _ in listed[:MAX_LANGUAGES]]
    counts = [count for _, count in listed[:MAX_LANGUAGES]]
    if rest := listed[MAX_LANGUAGES:]:
        names.append(f"({len(rest)} others)")
        counts.append(sum(count for _, count in rest))
    known = sum(1 for name in languages if name)
    told = f"{known:,} language{'' if known == 1 else 's'} in {sum(languages.values()):,} samples"
    return bars("Languages", told, names, [("kept", counts)])


def _numbers(spreads: Mapping[str, Distribution]) -> Element:
    """The same numbers as a table, for those who cannot see the charts or want to copy them."""
    titles = ("least", "5 %", "median", "95 %", "most", "mean")
    rows = []
    for name, spread in spreads.items():
        title, show = _TITLES.get(name, (printable(name), shown))
        values = (spread.min, spread.p5, spread.p50, spread.p95, spread.max)
        rows.append((title, f"{spread.count:,}", *map(show, values), shown(spread.mean)))
    columns = [("measure", False), ("samples", True), *((title, True) for title in titles)]
    return element("details", element("summary", "In numbers"), table(columns, rows, "Distributions in numbers"))


def _scores(scores: Mapping[str, Distribution]) -> list[Content]:
    if not scores:
        return []
    charts = [chart_of(printable(name), spread, shown) for name, spread in list(scores.items())[:MAX_SCORES]]
    contents: list[Content] = [element("div", *charts, class_="charts"), _numbers(scores)]
    if len(scores) > MAX_SCORES:
        contents.append(element("p", f"{len(scores) - MAX_SCORES} more columns are only in the table.", class_="soft"))
    return contents


def _samples(target: Target, report: Report, samples: int) -> list[Content]:
    if samples < 1:
        return []
    drawn = draw_samples(target.tars, report.counts, samples)
    if not drawn:
        return []
    told = f"{len(drawn):,} of {report.statistics.samples:,} samples, drawn at random and the same every time."
    return [element("p", told, class_="soft"), contact_sheet([sample_tile(each) for each in drawn], "Samples")]


def sample_tile(drawn: DrawnSample) -> Tile:
    """The tile of a sample of anyone's shards."""
    image = next((data for name, data in drawn.members.items() if name.lower() in IMAGE_MEMBERS), None)
    record = _record(drawn.members.get("json", b""))
    size = image_size(lambda offset, length: image[offset : offset + length]) if image is not None else None
    facts = [f"{size[0]:,} × {size[1]:,} pixels"] if size is not None else []
    language = record.get("lang") or record.get("language")
    if isinstance(language, str):
        facts.append(f"language {printable(language)}")
    numbers = [(name, value) for name, value in record.items() if isinstance(value, float)]
    facts += [f"{printable(name)} {shown(value)}" for name, value in numbers if name != "lang_confidence"][:3]
    facts.append(f"{printable(drawn.shard)}, {printable(drawn.key)}")
    unsafe = said_unsafe(record)
    return Tile(
        name=printable(drawn.key),
        caption=_caption(drawn.members.get("txt"), record),
        facts=tuple(facts),
        image=None if unsafe else image,
        absent="left out: its record says that it is unsafe" if unsafe else "no image",
    )


def _record(text: bytes) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _caption(text: bytes | None, record: Mapping[str, Any]) -> str | None:
    if text is not None:
        return text.decode("utf-8", "replace")
    return next((value for name in ("caption", "text") if isinstance(value := record.get(name), str)), None)


def _shards(target: Target, report: Report) -> list[Content]:
    statistics = report.statistics
    contents: list[Content] = []
    charts = []
    sizes = distribution([_bytes_of(tar) for tar in target.tars])
    counts = distribution(list(report.counts.values()))
    if counts is not None and sizes is not None and statistics.shards > 1:
        charts = [chart_of("Samples in a shard", counts, plain), chart_of("Bytes of a shard", sizes, human_bytes)]
        contents.append(element("div", *charts, class_="charts"))
    if statistics.splits:
        columns = [("split", False), ("shards", True), ("samples", True), ("bytes", True)]
        rows = [
            (printable(split), *(f"{told[name]:,}" for name in ("shards", "samples", "bytes")))
            for split, told in statistics.splits.items()
        ]
        contents.append(table(columns, rows, "Splits"))
    if statistics.members:
        members = list(statistics.members.items())[:MAX_LISTED]
        rows = [(printable(name), f"{count:,}") for name, count in members]
        contents.append(table([("member", False), ("files", True)], rows, "Members by extension"))
    if statistics.embeddings:
        columns = [("embeddings", False), ("of", False), ("encoding", False)]
        columns += [(name, True) for name in ("dimensions", "samples", "missing")]
        rows = [
            (
                printable(each["scorer"]),
                printable(each["kind"]),
                each["encoding"],
                *(f"{each[name]:,}" for name in ("dimensions", "samples", "missing")),
            )
            for each in statistics.embeddings
        ]
        contents.append(table(columns, rows, "Embeddings"))
    return contents


def _bytes_of(tar: Path) -> int:
    try:
        return tar.stat().st_size
    except OSError:
        return 0

"""The page of a build: the funnel, what was kept and what was not, and a look at both."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pairmill.pipeline.contamination import contamination_lines
from pairmill.pipeline.ledger_rows import read_build_record
from pairmill.pipeline.mixture_report import mixture_lines
from pairmill.pipeline.page.build_rows import BuildRows
from pairmill.pipeline.page.chart import bars, require_pages
from pairmill.pipeline.page.column_charts import column_charts, legend
from pairmill.pipeline.page.document import Section, figures, write_document
from pairmill.pipeline.page.element import Content, element, table
from pairmill.pipeline.page.funnel import funnel_table
from pairmill.pipeline.page.ledger_draw import LedgerDraw, draw_ledger
from pairmill.pipeline.page.number import duration, human_bytes, share
from pairmill.pipeline.page.row_sheets import Pictures, RowSheets
from pairmill.pipeline.page.sheet import contact_sheet
from pairmill.pipeline.page.stats_page import sample_tile
from pairmill.pipeline.report import left_lines, score_lines, words_lines
from pairmill.pipeline.shard_report import shard_lines
from pairmill.sharding.errors import UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.manifest import Manifest, ManifestError, read_manifest
from pairmill.sharding.publish import publish_bytes
from pairmill.sharding.sample_draw import draw_samples
from pairmill.sharding.stats_cli import find_shards
from pairmill.transforms.judgement import DUPLICATES

PAGE_NAME = "report.html"
KEPT_SHOWN, REJECTED_SHOWN = 25, 10
_GROUPS_LISTED = 20
_SIZES = ((2, 2), (3, 3), (4, 4), (5, 8), (9, 16), (17, 64), (65, 256), (257, 1024), (1025, None))


def write_build_page(
    build: Path, out: Path | None = None, pictures: Pictures = "safe", per_reason: int = REJECTED_SHOWN
) -> Path:
    """Write the page of a finished build (default: ``BUILD/report.html``) and return where it is.

    ``pictures``: see ``Pictures``. ``per_reason``: rows on the sheet of each reason. Nothing else of the build is
    touched. Raises UsageError for a folder that is no finished build, and where pygal or Pillow is missing.
    """
    require_pages()
    page = build_page(build, pictures, per_reason)
    path = out or build / PAGE_NAME
    try:
        publish_bytes(path, page)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    return path


def build_page(build: Path, pictures: Pictures = "safe", per_reason: int = REJECTED_SHOWN) -> bytes:
    """The page of a build's report, ledger, dataset and work folder; what of the last two is gone is left out."""
    record = read_build_record(build)
    report, finished = _read_report(build)
    manifest = _manifest(build)
    rows = BuildRows(build, record)
    draw = draw_ledger(rows.frames(), rows.sizes_of_blocks, per_reason)
    charted = draw.charted.select("row_id", "kept").hstack(rows.known(draw.charted.get_column("row_id")).drop("row_id"))
    sheets = RowSheets(rows, record.get("scorers", {}), pictures)
    shown = set(draw.shown.filter(~pl.col("kept")).select("stage", "reason").unique().iter_rows())
    sections = [
        Section("funnel", "What became of the pool", _funnel(report, shown)),
        Section("columns", "Kept and rejected", _columns(charted, draw, report["pool_rows"])),
        Section("duplicates", "Duplicates", _duplicates(report, draw)),
        Section("mixture", "Mixture", _mixture(report)),
        Section("steps", "How it went", _steps(report)),
        Section("kept", "Kept pairs", _kept(build, manifest, sheets, draw)),
        Section("rejected", "Rejected pairs", _rejected(sheets, draw, report, pictures)),
        Section("recipe", "Recipe", _recipe(manifest)),
    ]
    subtitle = [
        element(
            "p",
            "What pairmill made of a pool. ",
            element("time", finished, datetime=finished.replace(" ", "T", 1).replace(" UTC", "Z")),
            class_="soft",
        ),
        figures(_figures(report)),
    ]
    return write_document(f"Build of {printable(str(record['recipe']))}", subtitle, sections)


def _read_report(build: Path) -> tuple[dict[str, Any], str]:
    """The report, and when it was written."""
    path = build / "report.json"
    try:
        report = dict(json.loads(path.read_text(encoding="utf-8")))
        finished = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(path.stat().st_mtime))
    except (OSError, ValueError) as error:
        raise UsageError(f"{build} has no readable report.json: is it finished? (pairmill status {build})") from error
    return report, finished


def _manifest(build: Path) -> Manifest | None:
    try:
        return read_manifest(build / "dataset")
    except (ManifestError, OSError):
        return None


def _figures(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    told = [
        (f"{report['pool_rows']:,}", "pairs in the pool"),
        (f"{report['kept']:,}", "kept"),
        (share(report["kept"] / max(1, report["pool_rows"])), "of the pool"),
    ]
    if report["samples"] != report["kept"]:
        told.append((f"{report['samples']:,}", "samples written"))
    if "stored_bytes" in report:
        told.append((human_bytes(report["stored_bytes"]), "of images stored"))
    return [*told, (duration(report["seconds"]), "this run")]


def _funnel(report: Mapping[str, Any], shown: set[tuple[str, str]]) -> list[Content]:
    notes = [
        "Beside a step stands how many rows went on, beside a reason how many ended there: a row ends at the first "
        "reason in this order. Work is that of all workers together"
        + (", of every run over the work folder." if report.get("fetch") else "."),
        "Rows that rules on scores reject stand under rules." if report.get("score") else None,
    ]
    left = left_lines(dict(report))
    return [
        element("p", " ".join(note for note in notes if note), class_="soft"),
        funnel_table(report, shown),
        element("ul", *(element("li", printable(line)) for line in left), class_="told") if left else None,
    ]


def _columns(charted: pl.DataFrame, draw: LedgerDraw, pool_rows: int) -> list[Content]:
    charts = column_charts(charted) if charted.height else []
    if not charts:
        return []
    told = f"all {pool_rows:,} rows" if draw.whole else f"{charted.height:,} of {pool_rows:,} rows, drawn at random"
    return [
        element("p", f"Of {told}, where it is known: sizes by the fetch or the pool, scores of what was scored."),
        legend(),
        element("div", *charts, class_="charts"),
    ]


def _duplicates(report: Mapping[str, Any], draw: LedgerDraw) -> list[Content]:
    reasons = report["rejected_by_stage"].get(DUPLICATES, {})
    sizes = draw.group_sizes.to_numpy()
    if not reasons and not sizes.size:
        return []
    contents: list[Content] = []
    if reasons:
        rows = [
            (printable(reason), f"{count:,}", share(count / report["pool_rows"])) for reason, count in reasons.items()
        ]
        columns = [("kind", False), ("rejected", True), ("of the pool", True)]
        contents.append(table(columns, rows, "Duplicates by kind"))
    if sizes.size:
        counts = [int(np.count_nonzero((sizes >= low) & (sizes <= (high or sizes.max())))) for low, high in _SIZES]
        last = max(place for place, count in enumerate(counts) if count) if any(counts) else 0
        names = [str(low) if low == high else f"{low} to {high}" if high else f"{low} and more" for low, high in _SIZES]
        told = f"{sizes.size:,} groups, the largest of {sizes.max():,} rows"
        chart = bars("Rows in a group", told, names[: last + 1], [("kept", counts[: last + 1])])
        contents.append(element("div", chart, class_="charts"))
    if oversized := report.get("oversized_groups"):
        told = f"{len(oversized):,} groups of near duplicates were too large to collapse"
        largest = max(group["rows"] for group in oversized)
        contents.append(element("p", f"{told}; the largest has {largest:,} rows."))
    if semantic := report.get("semantic"):
        told = f"Embeddings: {semantic['rows']:,} rows compared in {semantic['clusters']:,} clusters"
        contents.append(element("p", f"{told}, {semantic['without_embedding']:,} without an embedding."))
    return contents


def _mixture(report: Mapping[str, Any]) -> list[Content]:
    told = report.get("mixture")
    if not told:
        return []
    contents: list[Content] = [element("p", printable(line.strip())) for line in mixture_lines(dict(report))[:1]]
    if told["groups"]:
        columns = [(str(told["by"]), False), ("rows in", True), ("samples", True), ("wanted", True), ("written", True)]
        rows = []
        for group in told["groups"][:_GROUPS_LISTED]:
            name = "(no value)" if group["group"] is None else printable(str(group["group"]))
            counts = (f"{group['rows_in']:,}", f"{group['samples']:,}")
            rows.append((name, *counts, share(group["wanted_share"]), share(group["share"])))
        contents.append(table(columns, rows, "Groups of the mixture"))
        if told["groups_in_all"] > len(rows):
            contents.append(element("p", f"The {len(rows)} largest of {told['groups_in_all']:,}.", class_="soft"))
    if concepts := told.get("concepts"):
        names = ("none", "below_cap", "at_cap")
        columns = [("concepts", False), ("no pair", True), ("below the cap", True), ("at the cap or above", True)]
        covered = [
            (what, *(f"{concepts[key][name]:,}" for name in names))
            for key, what in (("pairs", "before"), ("rows", "rows written"), ("samples", "samples written"))
        ]
        contents.append(element("h3", f"{concepts['concepts']:,} concepts, with a cap of {concepts['cap']:,}"))
        contents.append(table(columns, covered, "Coverage of concepts"))
    return contents


def _steps(report: Mapping[str, Any]) -> list[Content]:
    contents: list[Content] = []
    if statuses := report.get("fetch"):
        total = sum(statuses.values())
        rows = [(printable(name), f"{count:,}", share(count / total)) for name, count in statuses.items()]
        contents.append(table([("fetch", False), ("images", True), ("share", True)], rows, "Outcomes of the fetch"))
    told = dict(report)
    of_report = (score_lines, words_lines, contamination_lines, shard_lines)
    lines = [line for lines in of_report for line in lines(told)] + _selection_lines(report)
    if lines:
        contents.append(element("ul", *(element("li", printable(line.strip())) for line in lines), class_="told"))
    return contents


def _selection_lines(report: Mapping[str, Any]) -> list[str]:
    lines = [
        f"selection by {each['column']} (of {each['of']}): {each['wanted']:,} asked for, {each['scored']:,} of "
        f"{each['rows']:,} rows have a value"
        for each in report.get("selections", ())
    ]
    return lines + [f"{each['build']}: its {each['rows']:,} pairs are left out" for each in report.get("against", ())]


def _kept(build: Path, manifest: Manifest | None, sheets: RowSheets, draw: LedgerDraw) -> list[Content]:
    """Samples of the dataset; of a selection, which has none, rows of its ledger."""
    rows = draw.shown.filter("kept")
    if manifest is not None:
        counts = {shard: samples for shards in manifest.splits.values() for shard, samples in shards.items()}
        try:
            drawn = draw_samples(find_shards(build / "dataset").tars, counts, KEPT_SHOWN)
        except UsageError:  # no shards are left, or there never were any
            drawn = ()
        tiles = [sheets.as_allowed(sample_tile(each)) for each in drawn]
        told = f"{len(tiles):,} of {sum(counts.values()):,} samples"
    else:
        tiles = sheets.tiles(rows)
        told = f"{len(tiles):,} of the rows"
    if not tiles:
        return []
    told += ", drawn at random and the same every time."
    return [element("p", told, class_="soft"), contact_sheet(tiles, "Kept pairs")]


def _rejected(sheets: RowSheets, draw: LedgerDraw, report: Mapping[str, Any], pictures: Pictures) -> Sequence[Content]:
    if draw.shown.filter(~pl.col("kept")).is_empty():
        return []
    told = {
        "safe": "Pictures that a rule on safety or a list rejected are left out, and so are those with such a score. "
        "What was rejected before it was scored has none: look with care.",
        "all": "Pictures that a rule on safety or a list rejected are blurred until they are pointed at.",
        "none": "Pictures are not shown.",
    }[pictures]
    return [element("p", told, class_="soft"), *sheets.sheets(draw.shown, report["rejected_by_stage"])]


def _recipe(manifest: Manifest | None) -> list[Content]:
    if manifest is None:
        return []
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return [
        element("p", f"Seed {manifest.seed}. {versions}.", class_="soft"),
        element("details", element("summary", "The whole recipe"), element("pre", manifest.recipe_text, tabindex="0")),
    ]

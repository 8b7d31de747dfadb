"""The funnel as a table: what came into every step, what it rejected and why, what went on, and what it took."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from pairmill.pipeline.page.element import Content, element
from pairmill.pipeline.page.number import duration, share
from pairmill.sharding.fault import printable

#: What the steps of a build are called for people.
_STEPS = {
    "read": "read the pool",
    "rules": "rules",
    "fetch": "fetch and decode",
    "decontamination": "evaluation sets",
    "score_texts": "score texts",
    "score": "score images",
    "duplicates": "duplicates",
    "words": "write texts",
    "selection": "selection",
    "mixture": "mixture",
}


def funnel_table(report: Mapping[str, Any], shown: Collection[tuple[str, str]]) -> Element:
    """The table of a build's ``report.json``. ``shown``: stages and reasons that have pictures to link to."""
    pool = report["pool_rows"]
    rows = [_row("total", "pool", pool, pool, "kept", "")]
    for step in report["steps"]:
        stage = step["name"]
        seconds = duration(step["seconds"]) if step["seconds"] else ""
        rows.append(_row("stage", _STEPS.get(stage, stage), step["rows_out"], pool, "kept", seconds))
        for reason, count in report["rejected_by_stage"].get(stage, {}).items():
            told: Content = printable(reason)
            if (stage, reason) in shown:
                told = element("a", printable(reason), href=f"#{reason_id(stage, reason)}")
            rows.append(_row("reason", told, count, pool, "rejected", ""))
    rows.append(_row("total", "kept", report["kept"], pool, "kept", ""))
    head = element(
        "tr",
        element("th", "step, and why rows ended there", scope="col"),
        element("th", "rows", scope="col", class_="number"),
        element("th", "of the pool", scope="col", class_="number"),
        element("th", "", scope="col", class_="bar", aria_hidden="true"),
        element("th", "work", scope="col", class_="number"),
    )
    made = element(
        "table", element("caption", "The funnel"), element("thead", head), element("tbody", *rows), class_="funnel"
    )
    return element("div", made, class_="scrolls", tabindex="0", role="region", aria_label="The funnel")


def reason_id(stage: str, reason: str) -> str:
    """The place of a reason's rows on the page: what no id may hold is spelled out."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else f".{ord(c):x}" for c in f"{stage}-{reason}")
    return f"rejected-{plain}"


def _row(kind: str, name: Content, rows: int, pool: int, colour: str, seconds: str) -> Element:
    part = rows / pool if pool else 0.0
    bar = element("i", class_=colour, style=f"width:{part:.3%}") if rows else None
    return element(
        "tr",
        element("td", name),
        element("td", f"{rows:,}", class_="number"),
        element("td", share(part), class_="number"),
        element("td", element("span", bar), class_="bar", aria_hidden="true"),
        element("td", seconds, class_="number"),
        class_=kind,
    )

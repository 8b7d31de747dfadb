"""Contact sheets of rows of a ledger: of each reason, out of the spool where the picture was fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import polars as pl

from pairmill.pipeline.page.build_rows import BuildRows
from pairmill.pipeline.page.element import Content, element
from pairmill.pipeline.page.funnel import reason_id
from pairmill.pipeline.page.number import human_bytes, shown
from pairmill.pipeline.page.sheet import Tile, contact_sheet
from pairmill.pipeline.page.unsafe import is_unsafe_reason, said_unsafe, unsafe_scorers
from pairmill.sharding.fault import printable
from pairmill.sharding.pair import describe_row
from pairmill.transforms.judgement import FAILED_RULES

#: Which pictures are shown: those that no rule on safety rejected, all (those others blurred), or none.
Pictures = Literal["safe", "all", "none"]
MAX_NUMBERS = 4
_TAKEN_DOWN = "taken down: not shown"
_NOT_SHOWN = "not shown"
_NOT_FETCHED = "not fetched"
_FETCHED_ONCE = "the same URL, fetched once"
_LEFT_OUT = "left out: a rule on safety, or a list"


class RowSheets:
    """Makes tiles of rows of a ledger; ``scorers`` are the settings of the build's scorers, by name."""

    def __init__(self, rows: BuildRows, scorers: Mapping[str, Any], pictures: Pictures) -> None:
        self._rows = rows
        self._pictures = pictures
        self._unsafe = unsafe_scorers(scorers)
        self._unsafe_columns = [n for name in sorted(self._unsafe) for n in rows.score_columns.get(name, ())]

    def sheets(self, shown_rows: pl.DataFrame, counts: Mapping[str, Mapping[str, int]]) -> list[Content]:
        """A heading and a sheet for each stage and reason, in the order of ``counts`` (stage → reason → rows)."""
        drawn: dict[tuple[str, str], list[Tile]] = {}
        rejected = shown_rows.filter(~pl.col("kept"))
        for row, tile in zip(rejected.iter_rows(named=True), self.tiles(rejected), strict=True):
            drawn.setdefault((row["stage"], row["reason"]), []).append(tile)
        contents: list[Content] = []
        for stage, reasons in counts.items():
            for reason, count in reasons.items():
                tiles = drawn.get((stage, reason), [])
                if tiles:
                    some = f", {len(tiles):,} of them" if len(tiles) < count else ""
                    title = f"{printable(reason)}: {count:,} row{'' if count == 1 else 's'}{some}"
                    contents.append(element("h3", title, id=reason_id(stage, reason)))
                    if any(tile.image is None and tile.absent == _LEFT_OUT for tile in tiles):
                        contents.append(element("p", f"Pictures {_LEFT_OUT}.", class_="soft"))
                    contents.append(contact_sheet(tiles, f"Rejected for {printable(reason)}"))
        return contents

    def as_allowed(self, tile: Tile) -> Tile:
        """The tile without its picture, where none is to be shown."""
        return replace(tile, image=None, absent=_NOT_SHOWN) if self._pictures == "none" else tile

    def tiles(self, rows: pl.DataFrame) -> list[Tile]:
        """The tiles of rows of a ledger, in their order."""
        ids = pl.concat([rows.get_column("row_id"), rows.get_column("survivor").drop_nulls()])
        known = {row["row_id"]: row for row in self._rows.known(ids.unique().sort()).iter_rows(named=True)}
        return [self._tile(row, known) for row in rows.iter_rows(named=True)]

    def _tile(self, row: Mapping[str, Any], known: Mapping[int, Mapping[str, Any]]) -> Tile:
        told = known[row["row_id"]]
        if told["removed"]:
            return Tile(describe_row(row["row_id"]), None, absent=_TAKEN_DOWN, no_caption=_TAKEN_DOWN)
        unsafe = self._is_unsafe(row, told)
        image = beside = None
        if self._pictures == "all" or (self._pictures == "safe" and not unsafe):
            image = self._rows.image(told)
            survivor = known.get(row["survivor"])
            if survivor is not None and self._may_show(survivor):
                beside = self._rows.image(survivor)
        return Tile(
            name=describe_row(row["row_id"]),
            caption=told["caption"],
            no_caption="no caption" if told["uid"] is not None else "its pool is gone",
            facts=tuple(self._facts(row, told)),
            image=image,
            absent=_FETCHED_ONCE if beside is not None and told["status"] is None else self._absent(told, unsafe),
            beside=beside,
            beside_name="The picture that is kept instead",
            veiled=unsafe,
        )

    def _may_show(self, told: Mapping[str, Any]) -> bool:
        return not told["removed"] and (self._pictures == "all" or not self._is_unsafe({}, told))

    def _absent(self, told: Mapping[str, Any], unsafe: bool) -> str:
        if told["spool_offset"] is None:
            if told["status"] in (None, "ok"):
                return _NOT_FETCHED
            return printable(told["status"]).replace("_", " ")
        if self._pictures == "none":
            return _NOT_SHOWN
        return _LEFT_OUT if unsafe else "no longer in the work folder"

    def _is_unsafe(self, row: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
        reasons = [row.get("reason"), *(row.get(FAILED_RULES) or ())]
        if any(reason is not None and is_unsafe_reason(reason, self._unsafe) for reason in reasons):
            return True
        measured = {f"nsfw {name}": told.get(name) for name in self._unsafe_columns}
        return said_unsafe({**told, **measured})

    def _facts(self, row: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
        facts = []
        if told["original_width"] is not None:
            size = f"{told['original_width']:,} × {told['original_height']:,} pixels"
            facts.append(f"{size}, {human_bytes(told['stored_bytes'])}" if told["stored_bytes"] else size)
        if told["status_detail"] and told["status"] != "ok":
            facts.append(printable(told["status_detail"]))
        if told.get("lang"):
            confidence = told.get("lang_confidence")
            facts.append(f"language {printable(told['lang'])}" + (f" {confidence:.2f}" if confidence else ""))
        numbers = [name for name in self._rows.number_columns if told.get(name) is not None]
        numbers.sort(key=lambda name: not str(row["reason"]).startswith(name))  # what it was rejected for comes first
        facts += [f"{printable(name)} {shown(told[name])}" for name in numbers[:MAX_NUMBERS]]
        further = [name for name in row.get(FAILED_RULES) or () if name != row["reason"]]
        if further:
            facts.append(f"also {', '.join(map(printable, further))}")
        where = told["url"] or told["path"]
        if where:
            facts.append(printable(where))
        return facts

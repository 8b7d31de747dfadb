"""Other recipes over one work folder: only what they need and nobody fetched before is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import yaml

if TYPE_CHECKING:
    from conftest import Build, Mill, Served


def write_recipe(folder: Path, min_words: int) -> Path:
    """A recipe for captions of so many words."""
    path = folder / f"words-{min_words}.yaml"
    recipe = {
        "name": path.stem,
        "pool": {"path": "elsewhere", "columns": {"url": "url", "caption": "caption"}},
        "language": "off",
        "rules": [{"caption_length": {"min_words": min_words}}],
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def wanted_rows(served: Served, min_words: int) -> list[int]:
    """The rows whose caption is long enough, by Python's own count of words."""
    captions = served.rows()["caption"].to_list()
    return [row for row, text in enumerate(captions) if text and len(text.split()) >= min_words and len(text) > 5]


def test_every_recipe_fetches_what_no_other_has(mill: Mill, fresh: Build, served: Served, tmp_path: Path) -> None:
    known: set[str] = set()
    lengths = sorted(len(text.split()) for text in served.rows()["caption"] if text)
    limits = [lengths[len(lengths) * 3 // 4], lengths[len(lengths) // 3], 1]
    assert limits[0] > limits[1] > 2
    for limit in limits:
        served.asked.clear()
        build = replace(fresh, out=tmp_path / f"build-{limit}")
        mill.run(build, "--quiet", recipe=write_recipe(tmp_path, limit))
        wanted = served.paths_of(wanted_rows(served, limit))
        assert wanted - known
        assert set(served.asked) & (wanted - known) == wanted - known
        assert not set(served.asked) & known
        known |= wanted
        build.assert_all_accounted_for()
    parts = [pl.read_parquet(path) for path in sorted(fresh.work.glob("columns/fetch-*/*/*.p2.parquet"))]
    assert parts  # a third part of some block: it was fetched in three goes
    rows = fresh.fetched_rows()
    assert len(rows) == len(set(rows))

    # What others fetched changes neither a verdict nor a byte.
    served.asked.clear()
    first, again = (replace(fresh, out=tmp_path / name) for name in (f"build-{limits[0]}", "again"))
    mill.run(again, "--quiet", recipe=write_recipe(tmp_path, limits[0]))
    assert again.dataset() == first.dataset()
    assert mill.files(again.out / "ledger") == mill.files(first.out / "ledger")
    strict = replace(fresh, out=tmp_path / "strict")
    mill.run(strict, "--quiet", recipe=write_recipe(tmp_path, limits[0] + 1))
    assert not served.asked  # the server might as well be gone
    strict.assert_all_accounted_for()


def test_another_cut_of_the_same_rows_needs_no_server(
    mill: Mill, finished: Build, served: Served, tmp_path: Path
) -> None:
    other = replace(finished, out=tmp_path / "other")
    mill.run(other, "--quiet", "--set", "seed=3", "--set", "duplicates.near=off")
    assert not served.asked
    other.assert_all_accounted_for()
    assert other.dataset() != finished.dataset()

"""A whole run with img2dataset's own downloader and resizer, in the environment PAIRMILL_IMG2DATASET_PYTHON names."""

from __future__ import annotations

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

if TYPE_CHECKING:
    from conftest import Build, Mill, Served


@pytest.fixture
def python() -> str:
    """A Python that has both pairmill with its run extra and img2dataset."""
    python = os.environ.get("PAIRMILL_IMG2DATASET_PYTHON")
    if not python:
        pytest.skip("PAIRMILL_IMG2DATASET_PYTHON names no Python that has img2dataset")
    found = subprocess.run(
        [python, "-c", "import img2dataset.downloader, pairmill.runners.direct"],
        env={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode:
        pytest.skip(f"{python} cannot run pairmill with img2dataset: {found.stderr.strip().splitlines()[-1]}")
    return python


def test_its_images_pass_through_the_whole_pipeline(
    mill: Mill, python: str, finished: Build, fresh: Build, served: Served
) -> None:
    command = mill.command(fresh, "--quiet", "--set", "fetch.engine=img2dataset", "--workers", "2")
    script = Path(python).with_name("pairmill")
    done = mill.call([python, str(script), *command[1:]])
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    rows, expected = fresh.ledger(), served.rows()
    told = pl.DataFrame({"expect": expected["expect"], "planted": expected["planted"], "kept": rows["kept"]})
    good = told.filter(pl.col("planted").is_in(["", "png", "webp", "hops", "once_429"]))
    assert good["kept"].all()
    assert not told.filter(pl.col("planted").is_in(["status_404", "html", "robots_noai", "truncated"]))["kept"].any()
    images = pl.concat([pl.read_parquet(path) for path in (fresh.out / "dataset" / "metadata").glob("*.parquet")])
    assert images["width"].max() <= 512
    assert images["phash"].null_count() == 0
    # The same pictures, by another resizer.
    assert fresh.report()["kept"] == finished.report()["kept"]
    assert fresh.dataset() != finished.dataset()


def test_the_engine_missing_is_one_line(mill: Mill, fresh: Build) -> None:
    if find_spec("img2dataset") is not None:
        pytest.skip("img2dataset is installed here")
    line = mill.refused(fresh, "--set", "fetch.engine=img2dataset", code=2)
    assert "fetch.engine: img2dataset cannot be imported" in line
    assert "pip install" in line
    assert not fresh.out.exists()
    assert not fresh.work.exists()

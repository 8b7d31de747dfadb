"""``docs/models.md`` states the numbers that the trained models were recorded with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from pairmill.pipeline.demo import training
from pairmill.pipeline.demo.training.record import RECORD_FILE, flat

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
TRAINED = Path(training.__file__).parents[1] / "trained"
MAX_BYTES = 25_000_000


class Stated(NamedTuple):
    """A row of a table: what is said, and where it is said to be recorded."""

    model: str
    place: str
    value: str


def stated() -> list[Stated]:
    rows, model = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"### `(\w+)`", line):
            model = heading[1]
        if row := re.fullmatch(r"\|[^|]+\| ([^|]+) \| `([\w.]+)` \|", line):
            rows.append(Stated(model, row[2], row[1]))
    return rows


@pytest.mark.parametrize("row", stated(), ids=lambda row: f"{row.model}.{row.place}")
def test_a_number_on_the_page_is_the_recorded_one(row: Stated) -> None:
    record = TRAINED / row.model / RECORD_FILE
    recorded = dict(flat(json.loads(record.read_text(encoding="utf-8")))) if record.is_file() else {}
    number = recorded.get(row.place)
    said = None if row.value == "-" else float(row.value.replace(",", ""))
    assert said == number


def test_every_trained_model_has_its_numbers_on_the_page() -> None:
    models = {folder.name for folder in TRAINED.iterdir() if folder.is_dir()}
    assert models
    assert models <= {row.model for row in stated()}


def test_the_trained_models_are_small_and_recorded() -> None:
    folders = [folder for folder in TRAINED.iterdir() if folder.is_dir()]
    assert all((folder / RECORD_FILE).is_file() for folder in folders)
    assert sum(file.stat().st_size for folder in folders for file in folder.rglob("*")) < MAX_BYTES

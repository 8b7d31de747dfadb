"""A small dataset, written as the main job writes one, and pictures to fill it with."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from pairmill.sharding.dataset_card import CardFacts, write_dataset_card
from pairmill.sharding.indexes import write_indexes
from pairmill.sharding.manifest import Manifest, sum_other_files, write_manifest
from pairmill.sharding.record import encode_record, record_schema
from pairmill.sharding.shard import ShardInfo, ShardSample, write_shard
from pairmill.sharding.shard_plan import sample_key, shard_name, shard_sizes


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Encoded bytes of a small picture: width, height, format, and what Pillow's save takes."""

    def draw(width: int, height: int, format: str = "JPEG", **save: Any) -> bytes:
        file = io.BytesIO()
        Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, format, **save)
        return file.getvalue()

    return draw


@pytest.fixture(scope="session")
def table() -> pl.DataFrame:
    """The metadata of 30 samples: 24 to train on in 3 shards, 6 of split val in 2; nulls in every kind of column."""
    rows = 30
    frame = pl.DataFrame(
        {
            "uid": [f"{i * 7919:032x}" for i in range(rows)],
            "url": [None if i < 3 else f"http://pool.example/{i}.jpg" for i in range(rows)],
            "caption": [f"caption {i} " + "ü" * (i % 5) + "\nof two lines" * (i == 4) for i in range(rows)],
            "width": pl.Series([20 + i for i in range(rows)], dtype=pl.Int32),
            "height": pl.Series([40] * rows, dtype=pl.Int32),
            "lang": [None if i == 7 else ("de" if i % 3 == 0 else "en") for i in range(rows)],
            "score": [None if i < 6 else (1.0 if i % 2 else 0.25) for i in range(rows)],
            "reencoded": [None if i == 0 else i % 2 == 0 for i in range(rows)],
            "pool_id": [None if i < 8 else i for i in range(rows)],
            "phash": pl.Series([2**64 - 1 - i for i in range(rows)], dtype=pl.UInt64),
            "tags": [["a", "b"] if i % 2 else None for i in range(rows)],
            "thumbnail": [bytes(192)] * rows,
            "split": ["train"] * 24 + ["val"] * 6,
        }
    )
    names: list[str] = []
    places: list[int] = []
    for split, samples, shards in (("train", 24, 3), ("val", 6, 2)):
        for number, (start, stop) in enumerate(shard_sizes(samples, shards)):
            names += [shard_name(split, number, shards)] * (stop - start)
            places += range(stop - start)
    keys = [sample_key(uid, 1 if i == 5 else 0) for i, uid in enumerate(frame["uid"])]
    return frame.with_columns(key=pl.Series(keys), shard=pl.Series(names), index=pl.Series(places, dtype=pl.Int64))


@pytest.fixture(scope="session")
def written(table: pl.DataFrame, picture: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished dataset; tests that damage it copy it first (see ``dataset``)."""
    folder = tmp_path_factory.mktemp("written") / "dataset"
    folder.mkdir()
    schema = record_schema(table.drop("shard", "index", "split").schema)
    splits: dict[str, list[ShardInfo]] = {"train": [], "val": []}
    for (name,), rows in table.group_by("shard", maintain_order=True):
        samples = (
            ShardSample(
                row["key"], picture(row["width"], row["height"]), "jpg", row["caption"], encode_record(row, schema)
            )
            for row in rows.iter_rows(named=True)
        )
        splits[str(name).split("-")[0]].append(write_shard(folder / str(name), samples))
    (folder / "metadata").mkdir()
    table.write_parquet(folder / "metadata" / "00000.parquet")
    known = {file.name: file for shards in splits.values() for shard in shards for file in shard.files}
    for file in (*write_indexes(folder, splits), write_dataset_card(folder, splits, CardFacts("basic", schema))):
        known[file.name] = file
    write_manifest(
        folder,
        Manifest(
            splits={split: {shard.name: shard.samples for shard in shards} for split, shards in splits.items()},
            files=sum_other_files(folder, known),
            seed=7,
            record=schema,
            recipe_name="basic",
            recipe_fingerprint="f" * 16,
            recipe_text="pool: here\n",
            versions={"pairmill": "0.1.0"},
        ),
    )
    return folder


@pytest.fixture
def dataset(written: Path, tmp_path: Path) -> Path:
    """A copy of the finished dataset that a test may damage."""
    import shutil

    return Path(shutil.copytree(written, tmp_path / "dataset"))

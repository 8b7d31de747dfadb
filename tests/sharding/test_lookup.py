from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.lookup import metadata_rows, read_image
from pairmill.sharding.nearest import Place


@pytest.fixture
def placed(dataset: Path, table: pl.DataFrame) -> Path:
    """The dataset with a metadata file for each shard, as a build writes them."""
    for (shard,), rows in table.group_by("shard", maintain_order=True):
        rows.write_parquet(dataset / "metadata" / f"{shard}.parquet")
    (dataset / "metadata" / "00000.parquet").unlink()
    return dataset


def test_every_sample_is_found_at_its_place(placed: Path, table: pl.DataFrame, picture: Callable[..., bytes]) -> None:
    places = [Place(shard, index) for shard, index in table.select("shard", "index").iter_rows()][::-1]
    rows = metadata_rows(placed, places, ("key", "caption", "url", "width", "nothing"))
    assert [list(row) for row in rows] == [["key", "caption", "url", "width"]] * 30
    expected = table.select("key", "caption", "url", "width").to_dicts()[::-1]
    assert rows == expected
    for place, row in zip(places, rows, strict=True):
        assert read_image(placed, place, row["key"], "jpg") == picture(row["width"], 40)


def test_a_place_twice(placed: Path) -> None:
    place = Place("val-00000-of-00002", 2)
    one, other = metadata_rows(placed, [place, place], ["key"])
    assert one == other


def test_what_is_not_there_is_one_line(placed: Path, table: pl.DataFrame) -> None:
    shard, key = table.row(0, named=True)["shard"], table.row(0, named=True)["key"]
    with pytest.raises(PairmillError, match="has no row 99"):
        metadata_rows(placed, [Place(shard, 99)], ["key"])
    with pytest.raises(PairmillError, match=r"metadata/train-7\.parquet cannot be read"):
        metadata_rows(placed, [Place("train-7", 0)], ["key"])
    for place, wanted in ((Place(shard, 1), key), (Place(shard, 99), key), (Place(shard, 0), "other")):
        with pytest.raises(PairmillError, match=f"has no {wanted}.jpg as sample {place.number}: it is damaged"):
            read_image(placed, place, wanted, "jpg")
    tar = placed / f"{shard}.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(PairmillError, match="ends before"):
        read_image(placed, Place(shard, 0), key, "jpg")
    tar.unlink()
    with pytest.raises(PairmillError, match=r"\.tar cannot be read: No such file"):
        read_image(placed, Place(shard, 0), key, "jpg")
    (placed / "metadata" / f"{shard}.parquet").write_bytes(b"PAR1")
    with pytest.raises(PairmillError, match="cannot be read"):
        metadata_rows(placed, [Place(shard, 0)], ["key"])

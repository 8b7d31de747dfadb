from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding import reshard as module
from pairmill.sharding.embeddings import EmbeddingFormat, describe_embeddings, read_descriptions, write_embeddings
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import read_manifest, sum_other_files, write_manifest
from pairmill.sharding.reshard import reshard
from pairmill.sharding.reshard_plan import ReshardSettings
from pairmill.sharding.stats_cli import examine, find_shards

Sample = dict[str, bytes]


def samples(folder: Path, split: str = "train") -> list[tuple[str, Sample]]:
    """The samples of a split in order, told by tarfile."""
    found: list[tuple[str, Sample]] = []
    for path in sorted(folder.glob(f"{split}-*.tar")) or sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isreg():
                    continue
                key, extension = member.name.split(".", 1)
                if not found or found[-1][0] != key:
                    found.append((key, {}))
                found[-1][1][extension] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return found


def table(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "metadata").glob("*"))])


def faults(folder: Path) -> tuple[Any, ...]:
    return examine(find_shards(folder), verify=True).faults


def with_embeddings(folder: Path) -> dict[str, np.ndarray]:
    """Give the dataset embeddings of both encodings, none to the second sample of a shard; returns rows by key."""
    manifest = read_manifest(folder)
    rng = np.random.default_rng(1)
    rows = table(folder).sort("shard", "index")
    by_key = {}
    for kind, format in (("image", EmbeddingFormat()), ("text", EmbeddingFormat(encoding="binary"))):
        files = []
        for (name,), mine in rows.group_by("shard", maintain_order=True):
            vectors = rng.normal(size=(mine.height, 8)).astype(np.float16)
            vectors[1] = 0
            files.append(write_embeddings(folder, "clip", kind, str(name), [vectors], mine.height, format))
            stored = np.load(folder / files[-1].file.name)
            by_key |= {f"{kind} {key}": row for key, row in zip(mine["key"], stored, strict=True)}
        describe_embeddings(folder, "clip", kind, files, format, {"model": "m"})
    (folder / "manifest.json").unlink()
    write_manifest(folder, type(manifest)(**{**vars(manifest), "files": sum_other_files(folder, {})}))
    return by_key


def test_another_count_holds_the_same_in_the_same_order(dataset: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    done = reshard(dataset, tmp_path / "new", ReshardSettings(count=4), progress=lambda *n: told.append(n))
    assert (done.samples, done.source_samples, done.shards) == (30, 30, 8)
    assert told[-1] == (8, 8)
    assert not faults(tmp_path / "new")
    for split in ("train", "val"):
        assert samples(tmp_path / "new", split) == samples(dataset, split)
    manifest = read_manifest(tmp_path / "new")
    assert list(manifest.splits["train"].values()) == [6, 6, 6, 6]
    assert manifest.record == read_manifest(dataset).record
    old, new = table(dataset), table(tmp_path / "new")
    assert new.drop("shard", "index").sort("key").equals(old.drop("shard", "index").sort("key"))
    assert not (tmp_path / "new" / module.UNFINISHED).exists()


def test_the_same_count_gives_the_same_tars(dataset: Path, tmp_path: Path) -> None:
    reshard(dataset, tmp_path / "new", ReshardSettings(samples_per_shard=8))
    for name in ("train-00000-of-00003.tar", "train-00001-of-00003.idx", "train-00002-of-00003.tar.idx"):
        assert (tmp_path / "new" / name).read_bytes() == (dataset / name).read_bytes()


def test_shuffled_by_the_seed_and_by_nothing_else(dataset: Path, tmp_path: Path) -> None:
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        reshard(dataset, tmp_path / name, ReshardSettings(count=3, order="shuffle", seed=seed), workers)
        assert not faults(tmp_path / name)
        assert sorted(samples(tmp_path / name)) == sorted(samples(dataset))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
    assert samples(tmp_path / "a") != samples(tmp_path / "c") != samples(dataset)


def test_embeddings_follow_their_samples(dataset: Path, tmp_path: Path) -> None:
    rows = with_embeddings(dataset)
    without = set(table(dataset).filter(pl.col("index") == 1)["key"])
    assert not faults(dataset)
    reshard(dataset, tmp_path / "new", ReshardSettings(count=2, order="shuffle", seed=5, where="score IS NOT NULL"))
    assert not faults(tmp_path / "new")
    image, text = read_descriptions(tmp_path / "new")
    keys = table(tmp_path / "new")
    assert image.samples == text.samples == keys.height == 24
    for told in (image, text):
        for (name,), mine in keys.sort("shard", "index").group_by("shard", maintain_order=True):
            found = np.load(told.path(tmp_path / "new", str(name)))
            wanted = np.stack([rows[f"{told.kind} {key}"] for key in mine["key"]])
            assert np.array_equal(found, wanted)
            absent = [i for i, key in enumerate(mine["key"]) if key in without]
            assert list(told.missing.get(str(name), ())) == absent


def test_what_fields_tell_of_scores_stays(dataset: Path, tmp_path: Path) -> None:
    path = dataset / "metadata" / "00000.parquet"
    arrow = pq.read_table(path)
    number = arrow.schema.get_field_index("score")
    arrow = arrow.cast(arrow.schema.set(number, arrow.schema.field(number).with_metadata({"model": "m"})))
    pq.write_table(arrow, path)
    reshard(dataset, tmp_path / "new")
    written = pq.read_schema(tmp_path / "new" / "metadata" / "train-00000-of-00001.parquet")
    assert written.field("score").metadata[b"model"] == b"m"
    assert written.field("caption").metadata is None or b"model" not in written.field("caption").metadata


def test_subsets_by_uid_key_and_condition(dataset: Path, tmp_path: Path) -> None:
    old = table(dataset)
    uids = sorted(old["uid"].to_list())[3:12]
    halves = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in uids]
    np.save(tmp_path / "subset.npy", np.array(halves, dtype="u8,u8"))
    reshard(dataset, tmp_path / "npy", ReshardSettings(subset=str(tmp_path / "subset.npy")))
    assert sorted(table(tmp_path / "npy")["uid"]) == uids
    (tmp_path / "keys.txt").write_text("\n".join(old["key"][:4]))
    reshard(dataset, tmp_path / "without", ReshardSettings(without=str(tmp_path / "keys.txt")))
    assert {key for key, _ in samples(tmp_path / "without")} == set(old["key"][4:24])
    reshard(dataset, tmp_path / "where", ReshardSettings(where="lang = 'de' AND score > 0.5"))
    wanted = old.filter(pl.col("lang") == "de", pl.col("score") > 0.5)
    assert sorted(table(tmp_path / "where")["key"]) == sorted(wanted["key"])
    for name in ("npy", "without", "where"):
        assert not faults(tmp_path / name)


def test_as_datacomps_resharder_leaves_it(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="layout datacomp has one row of shards"):
        reshard(dataset, tmp_path / "new", ReshardSettings(layout="datacomp"))
    uids = [uid for uid, split in table(dataset).select("uid", "split").iter_rows() if split == "train"]
    chosen = [*uids[:7], *uids[:3], uids[0]]
    halves = sorted((int(uid[:16], 16), int(uid[16:], 16)) for uid in chosen)
    np.save(tmp_path / "subset.npy", np.array(halves, dtype="u8,u8"))
    for order in ("keep", "shuffle"):
        wanted = ReshardSettings(
            samples_per_shard=4,
            subset=str(tmp_path / "subset.npy"),
            layout="datacomp",
            order=order,  # type: ignore[arg-type]
        )
        done = reshard(dataset, tmp_path / order, wanted)
        assert not faults(tmp_path / order)
        assert (done.samples, done.shards) == (11, 3)
        rows = table(tmp_path / order).sort("shard", "index")
        assert sorted(rows["uid"]) == sorted(chosen)
        keys = [key for key, _ in samples(tmp_path / order)]
        assert keys == rows["key"].to_list()
        assert len(set(keys)) == 11
        images: dict[str, set[bytes]] = {}
        for key, members in samples(tmp_path / order):
            images.setdefault(key.split("-")[0], set()).add(members["jpg"])
        assert all(len(found) == 1 for found in images.values())
        assert json.loads((tmp_path / order / "00000001_stats.json").read_bytes()) == {"successes": 4}
        meta = json.loads((tmp_path / order / "meta.json").read_bytes())
        assert (meta["output_shard_count"], meta["output_shard_format"]) == (3, "{:08d}.tar")
        assert 'path: "[0-9]*.tar"' in (tmp_path / order / "README.md").read_text()


@settings(max_examples=15)
@given(
    keep=st.sets(st.integers(0, 29), min_size=1),
    count=st.integers(1, 9),
    multiple=st.integers(1, 3),
    order=st.sampled_from(["keep", "shuffle"]),
)
def test_nothing_is_lost_and_shards_are_equal(
    written: Path, tmp_path_factory: pytest.TempPathFactory, keep: set[int], count: int, multiple: int, order: Any
) -> None:
    folder = tmp_path_factory.mktemp("any")
    keys = table(written)["key"].to_list()
    (folder / "list").write_text("\n".join(keys[i] for i in keep))
    wanted = ReshardSettings(
        samples_per_shard=count, multiple_of=multiple, order=order, subset=str(folder / "list")
    )  # fmt: skip
    reshard(written, folder / "new", wanted)
    assert not faults(folder / "new")
    found = [key for split in ("train", "val") if list((folder / "new").glob(f"{split}-*"))
             for key, _ in samples(folder / "new", split)]  # fmt: skip
    assert sorted(found) == sorted(keys[i] for i in keep)
    for shards in read_manifest(folder / "new").splits.values():
        assert max(shards.values()) - min(shards.values()) <= 1
    shutil.rmtree(folder)


def foreign(folder: Path, count: int = 7, format: int = tarfile.PAX_FORMAT) -> Path:
    """Shards as img2dataset writes them: PAX headers for times, uids in the json, another order of members."""
    folder.mkdir()
    for number in range(2):
        with tarfile.open(folder / f"{number:05d}.tar", "w", format=format) as archive:
            for i in range(count):
                key = f"{number:05d}{i:04d}"
                uid = f"{number * 100 + i:032x}"
                for extension, data in (
                    ("json", json.dumps({"uid": uid}).encode()),
                    ("jpg", b"\xff\xd8" + bytes([i]) * 700),
                    ("txt", f"größe {i}".encode()),
                ):
                    info = tarfile.TarInfo(f"{key}.{extension}")
                    info.size, info.mtime = len(data), 1234.5  # type: ignore[assignment]
                    archive.addfile(info, io.BytesIO(data))
    return folder


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_other_peoples_shards(tmp_path: Path, format: int) -> None:
    source = foreign(tmp_path / "laion", format=format)
    np.save(tmp_path / "subset.npy", np.array([(0, 3), (0, 101), (9, 9)], dtype="u8,u8"))
    reshard(source, tmp_path / "all", ReshardSettings(samples_per_shard=5))
    assert samples(tmp_path / "all") == samples(source)
    assert not faults(tmp_path / "all")
    assert read_manifest(tmp_path / "all").image_ext == "jpg"
    done = reshard(source, tmp_path / "some", ReshardSettings(subset=str(tmp_path / "subset.npy")))
    assert [key for key, _ in samples(tmp_path / "some")] == ["000000003", "000010001"]
    assert (done.samples, done.source_samples) == (2, 14)


def test_an_interrupted_run_goes_on(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, wrote = module.write_formats, []

    def counted(folder: Path, split: str, name: str, *rest: Any) -> Any:
        wrote.append(name)
        return real(folder, split, name, *rest)

    def killed(*given: Any) -> Any:
        if len(wrote) == 3:
            raise KeyboardInterrupt
        return counted(*given)

    wanted = ReshardSettings(samples_per_shard=4)
    monkeypatch.setattr(module, "write_formats", killed)
    with pytest.raises(KeyboardInterrupt):
        reshard(dataset, tmp_path / "new", wanted)
    assert not (tmp_path / "new" / "manifest.json").exists()
    with pytest.raises(UsageError, match="unfinished dataset of another plan"):
        reshard(dataset, tmp_path / "new", ReshardSettings(samples_per_shard=5))
    monkeypatch.setattr(module, "write_formats", counted)
    reshard(dataset, tmp_path / "new", wanted)
    assert len(wrote) == len(set(wrote)) == 8
    assert not faults(tmp_path / "new")


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"subset": "absent.txt"}, "--subset: there is no list absent.txt"),
        ({"where": "nonsense here"}, "--where nonsense here: "),
        ({"where": "no_such > 1"}, "--where no_such > 1: "),
        ({"where": "width > 100000"}, "none of the 30 samples of .* is left"),
    ],
)
def test_what_cannot_be_used_is_told_before_work(
    dataset: Path, tmp_path: Path, wanted: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        reshard(dataset, tmp_path / "new", ReshardSettings(**wanted))
    assert not (tmp_path / "new").exists()


def test_folders_that_cannot_be_used(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    for source, folder, told in (
        (dataset, dataset, "is the source itself"),
        (dataset, tmp_path / "mine", "is not empty"),
        (tmp_path / "mine", tmp_path / "new", r"holds no \.tar files"),
        (tmp_path / "absent", tmp_path / "new", "is no folder"),
    ):
        with pytest.raises(UsageError, match=told):
            reshard(source, folder)
    reshard(dataset, tmp_path / "new")
    with pytest.raises(UsageError, match="holds a finished dataset"):
        reshard(dataset, tmp_path / "new")


@pytest.mark.parametrize("fault", ["truncated", "another", "link", "twice", "missing"])
def test_a_damaged_source_is_named(tmp_path: Path, fault: str) -> None:
    source = foreign(tmp_path / "laion")
    victim = source / "00001.tar"
    if fault == "truncated":
        victim.write_bytes(victim.read_bytes()[:-20000])
    elif fault == "another":  # an index of another tar
        np.array([0, 512, 1024], dtype="<u8").tofile(source / "00001.tar.idx")
        with tarfile.open(victim, "w") as archive:
            archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
    elif fault == "missing":
        victim.unlink()
        victim.mkdir()
    else:
        with tarfile.open(victim, "a") as archive:
            info = tarfile.TarInfo("000000001.jpg" if fault == "link" else "000010000.jpg")
            info.type = tarfile.SYMTYPE if fault == "link" else tarfile.REGTYPE
            info.linkname = "/etc/passwd" if fault == "link" else ""
            archive.addfile(info, io.BytesIO())
    with pytest.raises(PairmillError, match="00001"):
        reshard(source, tmp_path / "new")
    assert not (tmp_path / "new" / "manifest.json").exists()


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="count must be at least 1"):
        ReshardSettings(count=0)
    with pytest.raises(ValueError, match="order: 'sorted' is not known"):
        ReshardSettings(order="sorted")  # type: ignore[arg-type]

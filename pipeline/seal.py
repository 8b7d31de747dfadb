"""The end of a build: every row accounted for, the ledger, the report, the indexes, and the manifest last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from pairmill.pipeline.contamination import write_contamination
from pairmill.pipeline.kept import seal_kept
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.report import build_report
from pairmill.pipeline.shard_report import tell_shards
from pairmill.sharding.column_files import attempt_path, replace_file, write_row_groups
from pairmill.sharding.datacomp_layout import META_NAME, write_datacomp_files
from pairmill.sharding.dataset_card import CardFacts, write_dataset_card
from pairmill.sharding.embeddings import FOLDER as EMBEDDINGS
from pairmill.sharding.embeddings import EmbeddingFile, describe_embeddings
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.exchange import read_batch
from pairmill.sharding.indexes import write_indexes
from pairmill.sharding.manifest import Manifest, write_manifest
from pairmill.sharding.mds import FOLDER as MDS
from pairmill.sharding.mirror import fetched, listed, open_place, pull, remove_file
from pairmill.sharding.mirror_space import LAZY_SUFFIXES
from pairmill.sharding.pair import block_name
from pairmill.sharding.publish import FileSum, publish_bytes
from pairmill.sharding.record import RecordSchema
from pairmill.sharding.shard import ShardInfo
from pairmill.sharding.shard_groups import manifest_groups
from pairmill.sharding.shard_plan import shard_name, split_and_group
from pairmill.transforms.embedding_step import embedding_columns
from pairmill.transforms.job import Job
from pairmill.transforms.judgement import FAILED_RULES
from pairmill.transforms.shard_order import SplitOrder, load_orders
from pairmill.transforms.shard_records import sample_schema
from pairmill.transforms.verdict_step import TRAIN
from pairmill.transforms.versions import versions

#: Batches of blocks in one file of the ledger, each a row group.
BATCHES_PER_LEDGER_FILE = 256


def seal(prepared: Prepared, fingerprint: str, seconds: float) -> dict[str, Any]:
    """Make a dataset of finished shards and return the report.

    Raises PairmillError when a row or a sample is not accounted for: nothing is published then.
    """
    job, recipe = prepared.job, prepared.recipe
    pull(job.parts, "seal", LAZY_SUFFIXES)
    pull(job.shard_log, "seal")
    build = open_place(job.build)
    orders = _orders(job)
    shards, metadata, embeddings = _finished(job, orders)
    ledger = _gather_ledger(job)
    report = build_report(job, ledger, seconds)
    report["shards"] = tell_shards(job, orders, shards)
    if job.decontamination is not None:
        report["decontamination"] = write_contamination(job)
    _check_conservation(report, ledger, shards)
    files = [file for split in shards.values() for shard in split for file in shard.files]
    files += [*metadata, *_describe_embeddings(job, embeddings)]
    _remove_strangers(job, files)
    schema = _record_schema(job, metadata)
    grouped = job.shards.groups is not None
    facts = CardFacts(recipe=recipe.name, record=schema, image_ext=job.image.encode_format, grouped=grouped)
    files += write_indexes(job.dataset, shards, job.image.encode_format, grouped)
    if job.shards.layout == "datacomp":
        files += write_datacomp_files(job.dataset, shards, report["pool_rows"])
    files.append(write_dataset_card(job.dataset, shards, facts))
    publish_bytes(build / "report.json", json.dumps(report, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
    seal_kept(job, report["kept"])
    write_manifest(
        job.dataset,
        Manifest(
            splits={split: {shard.name: shard.samples for shard in infos} for split, infos in shards.items()},
            files=tuple(sorted(files, key=lambda file: file.name)),
            seed=job.seed,
            record=schema,
            image_ext=job.image.encode_format,
            recipe_name=recipe.name,
            recipe_fingerprint=fingerprint,
            recipe_text=prepared.recipe_text(),
            versions=versions(models=bool(job.scorers or job.words)),
            scorers=_scorers(prepared),
            groups=_groups(job, orders),
            words={run.name: {"columns": list(run.columns()), **run.identity} for run in job.words},
        ),
    )
    return report


def _orders(job: Job) -> list[SplitOrder]:
    path = job.parts / "orders.npz"
    orders = load_orders(path) if path.is_file() else {}
    # train first: it is what a reader of "the" index means.
    names = [TRAIN, *(name for name, _ in job.splits)]
    return [order for name in names for order in orders.values() if split_and_group(order.split)[0] == name]


def _groups(job: Job, orders: list[SplitOrder]) -> dict[str, Any]:
    """What the manifest says of the shard groups."""
    groups = job.shards.groups
    if groups is None:
        return {}
    values = {split_and_group(order.split)[1]: order.values or () for order in orders if order.samples}
    return manifest_groups(groups, values)


def _finished(
    job: Job, orders: list[SplitOrder]
) -> tuple[dict[str, list[ShardInfo]], list[FileSum], list[list[EmbeddingFile]]]:
    """The shards of each split, and of all shards the metadata and the embeddings (a list a shard, in order)."""
    shards: dict[str, list[ShardInfo]] = {}
    metadata: list[FileSum] = []
    embeddings: list[list[EmbeddingFile]] = []
    for order in orders:
        if not order.shards:
            continue
        for number in range(order.shards):
            name = shard_name(order.split, number, order.shards, job.shards.layout)
            record = json.loads((job.shard_log / f"{name}.json").read_text(encoding="utf-8"))
            shards.setdefault(order.split, []).append(ShardInfo.from_dict(record["shard"]))
            metadata.append(FileSum.from_dict(record["metadata"]))
            embeddings.append([EmbeddingFile.from_dict(file) for file in record["embeddings"]])
    return shards, metadata, embeddings


def _describe_embeddings(job: Job, by_shard: list[list[EmbeddingFile]]) -> list[FileSum]:
    """The files of all embeddings, after writing what each set of them is."""
    files = [written.file for shard in by_shard for written in shard]
    for column, written in zip(embedding_columns(job), zip(*by_shard, strict=True), strict=False):
        told = (job.dataset, column.run.name, column.kind, written)
        files.append(describe_embeddings(*told, job.embeddings, column.run.identity))
    return files


def _scorers(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """What the manifest says of the scores: who made them, or that the pool brought them."""
    told: dict[str, dict[str, Any]] = {}
    runs = {run.name: run for run in prepared.job.scorers}
    for item in prepared.recipe.scorers:
        if item.name in runs:
            told[item.name] = {"columns": list(runs[item.name].columns()), **runs[item.name].identity}
        else:
            told[item.name] = {"columns": list(prepared.scorers.from_pool[item.name]), "from_pool": True}
    return told


def _gather_ledger(job: Job) -> pl.DataFrame:
    """Write the lanes' verdicts as the ledger: the same files whatever the lanes were; returns counts by reason."""
    job.ledger.mkdir(parents=True, exist_ok=True)
    plan = job.lane_plan()
    counts = [
        pl.DataFrame(
            schema={
                "stage": pl.String, "reason": pl.String, "kept": pl.Boolean, "rows": pl.UInt32, "samples": pl.UInt64
            }
        )
    ]  # fmt: skip
    names = set()
    for start in range(0, len(plan.batches), BATCHES_PER_LEDGER_FILE):
        batches = range(start, min(start + BATCHES_PER_LEDGER_FILE, len(plan.batches)))
        path = job.ledger / f"{block_name(plan.batch(start)[0])}.parquet"
        names.add(path.name)
        attempt = attempt_path(path)
        write_row_groups(attempt, _counted(job, batches, counts))
        replace_file(attempt, path)
    for stale in listed(job.ledger, "*"):
        if stale.name not in names:
            remove_file(stale)
    return pl.concat(counts).group_by("stage", "reason", "kept").agg(pl.col("rows", "samples").sum())


def _counted(job: Job, batches: Iterable[int], counts: list[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The ledger of each batch of blocks, its counts noted in passing: one batch is in memory at a time."""
    for lane, place in map(job.lane_plan().place_of_batch, batches):
        frame = read_batch(job.exchanged("ledger", lane), place)
        if job.all_reasons:
            frame = frame.hstack(read_batch(job.exchanged(FAILED_RULES, lane), place))
        counts.append(
            frame.group_by("stage", "reason", "kept").agg(
                rows=pl.len(), samples=pl.col("samples").cast(pl.UInt64).sum()
            )
        )
        yield frame


def _check_conservation(report: dict[str, Any], ledger: pl.DataFrame, shards: dict[str, list[ShardInfo]]) -> None:
    pool, kept, samples = report["pool_rows"], report["kept"], report["samples"]
    rejected = sum(report["rejected"].values())
    written = sum(shard.samples for infos in shards.values() for shard in infos)
    if int(ledger.get_column("rows").sum()) != pool or pool != kept + rejected or written != samples:
        raise PairmillError(
            f"rows are not accounted for: the pool has {pool}, kept are {kept}, rejected {rejected}, written "
            f"{written} samples of {samples}; this is a fault of pairmill: keep the folders and report it"
        )


def _remove_strangers(job: Job, files: list[FileSum]) -> None:
    """Remove shards, metadata and embeddings of an earlier plan: nobody committed them."""
    wanted = {file.name for file in files}
    patterns = ["*.tar", "*.idx", "*_stats.json", META_NAME, "shardindex*.json", "metadata/*.parquet", f"{MDS}/*/*"]
    for pattern in (*patterns, f"{EMBEDDINGS}/*/*.json", f"{EMBEDDINGS}/*/*/*.npy"):
        for path in listed(job.dataset, pattern):
            if path.relative_to(job.dataset).as_posix() not in wanted:
                remove_file(path)


def _record_schema(job: Job, metadata: list[FileSum]) -> RecordSchema:
    if not metadata:
        return {}
    frame = pl.read_parquet(fetched(job.dataset / metadata[0].name), n_rows=0)
    return sample_schema(frame.drop("key", "shard", "index"))

"""The command ``shard-stats``: statistics and checks of a pairmill dataset, or of anyone's shards."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pairmill.sharding.errors import UsageError
from pairmill.sharding.fault import Fault, printable
from pairmill.sharding.foreign_index import index_shards
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, ManifestError, read_manifest
from pairmill.sharding.mds import find_mds
from pairmill.sharding.metadata import Metadata, read_metadata
from pairmill.sharding.publish import FileSum
from pairmill.sharding.scan_all import scan_all
from pairmill.sharding.shard_plan import in_splits
from pairmill.sharding.shard_scan import ShardScan, record_drift
from pairmill.sharding.statistics import DatasetStatistics, dataset_statistics, split_of
from pairmill.sharding.stats_table import print_statistics
from pairmill.sharding.topology import Topology, judge_topology
from pairmill.sharding.verify import (
    verify_counts,
    verify_keys,
    verify_metadata,
    verify_named,
    verify_shard,
    verify_sizes,
    verify_sums,
)
from pairmill.sharding.verify_embeddings import summarise_embeddings, verify_embeddings
from pairmill.sharding.verify_mds import verify_mds

FINE, DAMAGED, USAGE = 0, 1, 2


@dataclass(frozen=True)
class Target:
    """What to look at: the folder, its tars in name order, and the splits asked for (None: all).

    Where there are no tars, these are MDS shards.
    """

    folder: Path
    tars: tuple[Path, ...]
    splits: tuple[str, ...] | None = None
    whole: bool = True  # all tars of the folder: its manifest and metadata are about them


@dataclass(frozen=True)
class Report:
    """What was found."""

    statistics: DatasetStatistics
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    counts: dict[str, int]  # samples by shard, in the order of their names


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns 0 when all is well, 1 for a damaged dataset, 2 for a path without shards."""
    return run(parser().parse_args(argv))


#: Told what was looked at, what was found, and the verdicts on a topology, where one is asked for.
Listener = Callable[[Target, Report, Sequence[Mapping[str, Any]]], None]


def run(arguments: argparse.Namespace, listen: Listener | None = None) -> int:
    """The same for parsed arguments; ``listen`` is told all that is printed, first."""
    try:
        topology = None if arguments.topology is None else Topology.parse(arguments.topology)
    except ValueError as error:
        print(f"shard-stats: --topology: {printable(str(error))}", file=sys.stderr)
        return USAGE
    try:
        target = target_of(arguments)
    except UsageError as error:
        print(f"shard-stats: {printable(str(error))}", file=sys.stderr)
        return USAGE
    if arguments.index:
        return _index(target)
    if topology is not None and target.tars[0].suffix != ".tar":
        print("shard-stats: --topology is about loaders of tars; mosaicml-streaming splits samples", file=sys.stderr)
        return USAGE
    gc.freeze()  # what was loaded stays: no collection need look at it again
    with _progress(len(target.tars)) as progress:
        report = examine(target, arguments.verify, arguments.scan, arguments.processes, progress)
    verdicts = [] if topology is None else _verdicts(report.counts, topology)
    if listen is not None:
        listen(target, report, verdicts)
    if arguments.json:
        told = _as_json(report, arguments.verify)
        print(json.dumps(told | {"topology": verdicts} if topology is not None else told, indent=1))
    else:
        print_statistics(report.statistics, Console())
        for verdict in verdicts:
            print(f"{verdict['split']}: {verdict['loader']}: {verdict['verdict']}: {verdict['why']}")
    for warning in report.warnings:
        print(f"shard-stats: warning: {warning}", file=sys.stderr)
    for fault in report.faults:
        print(f"shard-stats: {fault}", file=sys.stderr)
    if arguments.verify and not arguments.json and not report.faults:
        print("\nverified: no faults")
    return DAMAGED if report.faults else FINE


@contextmanager
def _progress(shards: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    columns = (TextColumn("shards"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("shards", total=shards)
        yield lambda done: bar.update(task, completed=done)


def _index(target: Target) -> int:
    if not target.whole or target.splits is not None or target.tars[0].suffix != ".tar":
        print("shard-stats: --index takes a whole folder of tars", file=sys.stderr)
        return USAGE
    try:
        with _progress(len(target.tars)) as progress:
            written, faults = index_shards(target.folder, target.tars, progress)
    except UsageError as error:
        print(f"shard-stats: {printable(str(error))}", file=sys.stderr)
        return USAGE
    for fault in faults:
        print(f"shard-stats: {fault}", file=sys.stderr)
    print(f"{target.folder}: {len(written):,} index files written" + (", none of the whole set" if faults else ""))
    return DAMAGED if faults else FINE


def target_of(arguments: argparse.Namespace) -> Target:
    """What parsed arguments name; raises UsageError as ``find_shards`` does."""
    splits = tuple(name for name in arguments.splits.split(",") if name) if arguments.splits else None
    return find_shards(Path(arguments.path), splits)


def parser() -> argparse.ArgumentParser:
    """The options that need nothing but files."""
    parser = argparse.ArgumentParser(
        prog="shard-stats",
        description="Count and describe the samples of WebDataset shards. Exit code 0: fine, 1: damaged, 2: no shards.",
    )
    parser.add_argument("path", metavar="PATH", help="a dataset's folder, any of .tar or MDS files, or one file")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="check sums, indexes, keys and counts; reads every byte where a manifest is",
    )
    parser.add_argument(
        "--topology",
        metavar="nodes=2,gpus=8,workers=6",
        help="tell whether trainers of this size read evenly, repeat samples or drop them",
    )
    parser.add_argument(
        "--scan", action="store_true", help="read captions, sizes and languages from the tars, though there is metadata"
    )
    parser.add_argument(
        "--processes", type=int, metavar="N", help="that scan (default: one for each core, if the tars are large)"
    )
    parser.add_argument(
        "--index", action="store_true", help="write the index files that these shards lack, for every trainer"
    )
    parser.add_argument("--splits", metavar="NAME,NAME", help="only these splits or shard groups (train, val-en, …)")
    return parser


def find_shards(path: Path, splits: tuple[str, ...] | None = None) -> Target:
    """The tars at ``path``: a tar itself, a folder of them, or a build's folder with ``dataset/`` in it.

    Raises UsageError when there are none, or none of the ``splits``.
    """
    try:
        if path.is_dir():
            folder = path / "dataset" if _is_build(path) else path
            tars = tuple(sorted(folder.glob("*.tar"))) or find_mds(folder)
        elif path.exists():
            folder, tars = path.parent, (path,)
        else:
            raise UsageError(f"{path} does not exist")
        if not tars:
            raise UsageError(f"{folder} holds no .tar files and no MDS shards{_hint(folder)}")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    if splits is None:
        return Target(folder, tars, None, path.is_dir())
    known = sorted({split_of(tar.stem) for tar in tars} - {""})
    if unknown := [split for split in splits if not any(in_splits(name, (split,)) for name in known)]:
        raise UsageError(f"no shards of split {unknown[0]!r}; {folder} has {', '.join(known) or 'no named splits'}")
    chosen = tuple(tar for tar in tars if (split := split_of(tar.stem)) and in_splits(split, splits))
    return Target(folder, chosen, splits, path.is_dir())


def _is_build(path: Path) -> bool:
    here, inside = ((any(folder.glob("*.tar")) or bool(find_mds(folder))) for folder in (path, path / "dataset"))
    return inside and not here


def _hint(folder: Path) -> str:
    if any(folder.glob("*.tar.*z*")):
        return ", only compressed ones; unpack them first"
    if any(folder.glob("*/*.tar")):
        return "; name one of its folders that do"
    return ""


def examine(
    target: Target,
    verify: bool,
    scan: bool = False,
    processes: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Report:
    """Scan the target's tars, and check them if asked. Damage of any kind is a fault in the result, never raised.

    ``scan``: captions, sizes and languages from the tars, though there is metadata. ``processes``, ``progress``: as
    ``scan_all`` has them.
    """
    manifest, faults = _manifest(target)
    metadata = read_metadata(target.folder, target.splits, keys=verify) if target.whole and not scan else None
    if metadata is not None and metadata.faults:
        faults += metadata.faults
        metadata = None
    embeddings, unreadable = summarise_embeddings(target.folder) if target.whole else ([], [])
    faults += unreadable
    scans = scan_all(target.tars, metadata is None, processes, progress)
    for each in scans:
        faults += each.faults
    for found in _checks(target, scans, manifest, metadata, verify):
        told = {fault.file for fault in faults}  # what follows from damage already told is noise
        faults += [fault for fault in found if fault.file not in told]
    statistics = dataset_statistics(
        scans,
        None if metadata is None else metadata.measures(),
        None if metadata is None else metadata.languages(),
        embeddings,
    )
    warnings = (*(warning for each in scans for warning in each.warnings), *_across(scans))
    return Report(statistics, tuple(faults), warnings, {each.name: each.samples for each in scans})


def _across(scans: Sequence[ShardScan]) -> Iterator[Fault]:
    """What only a look at several shards shows: other keys of records, and unequal lengths; of undamaged ones."""
    scans = [scan for scan in scans if not scan.faults]
    first = next((scan for scan in scans if scan.record), None)
    for scan in scans:
        if first is not None and scan.record:
            for what in record_drift(first.record, scan.record):
                yield Fault(scan.file, f"its first record {what}, unlike that of {first.file}")
    by_split: dict[str, list[ShardScan]] = {}
    for scan in scans:
        by_split.setdefault(split_of(scan.name), []).append(scan)
    for mine in by_split.values():
        least, most = min(mine, key=lambda scan: scan.samples), max(mine, key=lambda scan: scan.samples)
        if most.samples - least.samples > 1:
            yield Fault(
                least.file,
                f"holds {least.samples:,} samples, {most.file} holds {most.samples:,}: loaders that draw shards repeat "
                "those of small ones (pairmill reshard makes them equal)",
            )


def _manifest(target: Target) -> tuple[Manifest | None, list[Fault]]:
    if not (target.folder / MANIFEST_NAME).exists():
        return None, []
    try:
        return read_manifest(target.folder), []
    except ManifestError as error:
        return None, [Fault(MANIFEST_NAME, error.what)]


def _checks(
    target: Target, scans: Sequence[ShardScan], manifest: Manifest | None, metadata: Metadata | None, verify: bool
) -> Iterator[list[Fault]]:
    """The findings of each check in turn; without ``verify`` only what costs no reading."""
    if manifest is not None:
        files = _files_of(target, manifest)
        yield verify_sums(target.folder, files) if verify else verify_sizes(target.folder, files)
    if not verify:
        return
    if manifest is not None and target.whole:
        yield verify_named(target.folder, manifest)
    for tar in target.tars:
        yield verify_shard(tar)
    yield verify_keys(scans)
    yield verify_counts(target.folder, scans, manifest)
    if target.whole:
        yield verify_mds(target.folder, scans, target.splits)
    if metadata is not None and (keys := metadata.keys_by_shard()) is not None:
        yield verify_metadata(scans, keys)
    if target.whole:
        yield verify_embeddings(target.folder, {scan.name: scan.samples for scan in scans})


def _files_of(target: Target, manifest: Manifest) -> list[FileSum]:
    """What the manifest says of the target: all files, or those of the shards asked for."""
    if target.whole and target.splits is None:
        return list(manifest.files)
    if target.splits is not None:
        shards = {
            shard for split, named in manifest.splits.items() if in_splits(split, target.splits) for shard in named
        }
    else:
        shards = {tar.stem for tar in target.tars}
    return [file for file in manifest.files if Path(file.name).name.split(".", 1)[0] in shards]


def _verdicts(samples_of: Mapping[str, int], topology: Topology) -> list[dict[str, Any]]:
    """Of each split and loader."""
    by_split: dict[str, list[int]] = {}
    for shard, samples in samples_of.items():
        by_split.setdefault(split_of(shard) or "all shards", []).append(samples)
    return [
        {"split": split, **verdict.to_dict()}
        for split, counts in by_split.items()
        for verdict in judge_topology(counts, topology)
    ]


def _as_json(report: Report, verified: bool) -> dict[str, Any]:
    return {
        **report.statistics.to_dict(),
        "verified": verified,
        "faults": [fault._asdict() for fault in report.faults],
        "warnings": [warning._asdict() for warning in report.warnings],
    }


if __name__ == "__main__":
    sys.exit(main())

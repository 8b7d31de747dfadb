"""The commands around datasets and work folders: ``stage-in``, ``publish``, ``reshard``, ``remove``, ``gc``, …"""

from __future__ import annotations

import argparse
from pathlib import Path

Commands = argparse._SubParsersAction  # argparse has no public name for it


def add_dataset_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add them to the ``pairmill`` command; each imports what it needs when it runs."""
    _add_plan_shards(commands)
    _add_stage_in(commands)
    _add_publish(commands)
    _add_reshard(commands)
    _add_remove(commands)
    _add_gc(commands)


def _add_plan_shards(commands: Commands[argparse.ArgumentParser]) -> None:
    plan = commands.add_parser("plan-shards", help="how many shards, of which size, and what binds their reading")
    plan.add_argument("dataset", type=Path, metavar="DATASET", help="a dataset, or any folder of WebDataset tars")
    plan.add_argument("--nodes", type=int, default=1)
    plan.add_argument("--gpus", type=int, default=8, help="of a node (default: 8)")
    plan.add_argument("--workers", type=int, default=8, help="loader workers of a GPU (default: 8)")
    plan.add_argument("--model", help="whose rate on --gpu is known: ViT-B-32, ViT-B-16, ViT-L-14 (default: ViT-B-32)")
    plan.add_argument("--gpu", default="A100", help="(default: A100)")
    plan.add_argument("--samples-per-second", type=float, help="what one GPU trains with, in place of a known rate")
    plan.add_argument("--edge", type=int, default=224, help="pixels of the images a trainer sees (default: 224)")
    plan.add_argument("--decode-on-gpu", action="store_true", help="the loader workers only read")
    plan.add_argument("--disk", type=Path, metavar="FOLDER", help="the disk to measure (default: the dataset's)")
    plan.add_argument("--cores", type=int, help="of a node, for loading (default: this machine's)")
    plan.add_argument("--samples", type=int, help="plan for so many samples like these (default: as many as there are)")
    plan.add_argument("--remote-bytes-per-second", type=float, metavar="B", help="of the store to stage in from")
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    plan.set_defaults(command=_plan_shards)


def _add_stage_in(commands: Commands[argparse.ArgumentParser]) -> None:
    stage = commands.add_parser("stage-in", help="copy a dataset from any store to local disk, every byte checked")
    stage.add_argument("source", metavar="SRC", help="a dataset, by path or URL (s3://, gs://, hf://, https://, …)")
    stage.add_argument("folder", type=Path, metavar="DST", help="a folder on the local disk")
    stage.add_argument("--streams", type=int, default=16, help="files copied at a time (default: 16)")
    stage.add_argument("--recheck", action="store_true", help="read again what is there already, and mend it")
    stage.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    stage.set_defaults(command=_stage_in)


def _add_publish(commands: Commands[argparse.ArgumentParser]) -> None:
    publish = commands.add_parser("publish", help="copy a finished dataset to any store, every file compared")
    publish.add_argument("dataset", type=Path, metavar="SRC", help="a build's folder, or that of a dataset")
    publish.add_argument("url", metavar="URL", help="an empty folder: s3://, gs://, hf://datasets/NAME/REPOSITORY, …")
    publish.add_argument("--streams", type=int, default=16, help="files copied at a time (default: 16)")
    publish.add_argument("--recheck", action="store_true", help="compare the sums of what is there, and mend it")
    publish.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    publish.set_defaults(command=_publish)


def _add_reshard(commands: Commands[argparse.ArgumentParser]) -> None:
    reshard = commands.add_parser("reshard", help="a dataset in other shards: count, order, subset")
    reshard.add_argument("source", type=Path, metavar="SRC", help="a dataset, or any folder of WebDataset tars")
    reshard.add_argument("folder", type=Path, metavar="DST", help="a new folder")
    reshard.add_argument("--shards", type=int, metavar="N", dest="count", help="how many shards a split has")
    reshard.add_argument("--samples-per-shard", type=int, metavar="N", help="at most so many samples in a shard")
    reshard.add_argument("--target-bytes", type=int, metavar="BYTES", default=256 << 20, help="(default: 256 MiB)")
    reshard.add_argument("--multiple-of", type=int, metavar="N", default=1, help="ranks x loader workers")
    reshard.add_argument("--order", choices=("keep", "shuffle"), default="keep", help="(default: keep)")
    reshard.add_argument("--seed", type=int, default=0, help="of the shuffled order")
    reshard.add_argument("--subset", metavar="FILE", help="take only these uids or keys (.npy, .parquet or text)")
    reshard.add_argument("--without", metavar="FILE", help="leave these uids or keys out")
    reshard.add_argument("--where", metavar="SQL", help="take only samples whose metadata fulfil a condition")
    reshard.add_argument("--layout", choices=("split", "datacomp"), default="split", help="names (default: split)")
    reshard.add_argument(
        "--format", choices=("webdataset", "mds", "both"), default="webdataset", help="(default: webdataset)"
    )
    reshard.add_argument(
        "--group-by", metavar="COLUMN", help="shards of their own for its values, or tiers by --group-cuts"
    )
    reshard.add_argument("--group-cuts", metavar="N,N", default="", help="numbers that rise: tiers of a score")
    reshard.add_argument("--group-names", metavar="NAME,NAME", default="", help="of the tiers, from the lowest")
    reshard.add_argument("--group-min", type=int, metavar="N", default=1, help="smaller groups are joined as other")
    reshard.add_argument("--workers", type=int, default=1, help="shards written at a time (default: 1)")
    reshard.add_argument("--quiet", action="store_true", help="no progress bar and no summary")
    reshard.set_defaults(command=_reshard)


def _add_remove(commands: Commands[argparse.ArgumentParser]) -> None:
    remove = commands.add_parser("remove", help="take pairs out of a finished dataset, and keep them out (takedown)")
    remove.add_argument("build", type=Path, metavar="BUILD", help="a build's folder, or that of a dataset")
    remove.add_argument("--list", type=Path, required=True, metavar="FILE", help="which: text, .parquet or .npy")
    remove.add_argument("--kind", choices=("uid", "key", "url", "sha256"), default="uid", help="(default: uid)")
    remove.add_argument("--work", type=Path, help="the work folder, where the build does not tell it")
    remove.add_argument("--dry-run", action="store_true", help="only tell how many there are")
    remove.set_defaults(command=_remove)


def _plan_shards(arguments: argparse.Namespace) -> int:
    from pairmill.runners.plan_shards_command import Wanted, plan_shards

    wanted = Wanted(
        dataset=arguments.dataset,
        nodes=arguments.nodes,
        gpus=arguments.gpus,
        workers=arguments.workers,
        model=arguments.model,
        gpu=arguments.gpu,
        samples_per_s=arguments.samples_per_second,
        edge=arguments.edge,
        disk=arguments.disk,
        cores=arguments.cores,
        samples=arguments.samples,
        remote=arguments.remote_bytes_per_second,
        decodes=not arguments.decode_on_gpu,
    )
    return plan_shards(wanted, arguments.json)


def _stage_in(arguments: argparse.Namespace) -> int:
    from pairmill.runners.stage_in_command import stage

    return stage(arguments.source, arguments.folder, arguments.streams, arguments.recheck, arguments.quiet)


def _publish(arguments: argparse.Namespace) -> int:
    from pairmill.runners.publish_command import publish

    return publish(arguments.dataset, arguments.url, arguments.streams, arguments.recheck, arguments.quiet)


def _reshard(arguments: argparse.Namespace) -> int:
    from pairmill.runners.reshard_command import groups_asked, reshard_dataset

    return reshard_dataset(
        source=arguments.source,
        folder=arguments.folder,
        workers=arguments.workers,
        quiet=arguments.quiet,
        count=arguments.count,
        samples_per_shard=arguments.samples_per_shard,
        target_bytes=arguments.target_bytes,
        multiple_of=arguments.multiple_of,
        order=arguments.order,
        seed=arguments.seed,
        subset=arguments.subset,
        without=arguments.without,
        where=arguments.where,
        layout=arguments.layout,
        format=arguments.format,
        groups=groups_asked(arguments.group_by, arguments.group_cuts, arguments.group_names, arguments.group_min),
    )


def _remove(arguments: argparse.Namespace) -> int:
    from pairmill.runners.remove_command import remove_pairs

    return remove_pairs(arguments.build, arguments.kind, arguments.list, arguments.work, arguments.dry_run)


def _add_gc(commands: Commands[argparse.ArgumentParser]) -> None:
    collect = commands.add_parser("gc", help="tell what of a work folder no build needs, and remove it with --yes")
    collect.add_argument("work", type=Path, metavar="WORK", help="the work folder (BUILD/work, if no other was named)")
    collect.add_argument("--yes", action="store_true", help="remove what is listed")
    collect.add_argument("--dry-run", action="store_true", help="list only, as without --yes")
    collect.add_argument(
        "--drop-spool", action="store_true", help="also the stored images; a build that wants them fetches them again"
    )
    collect.add_argument(
        "--keep-builds", nargs="+", default=[], type=Path, metavar="BUILD", help="only what these builds need stays"
    )
    collect.set_defaults(command=_gc)


def _gc(arguments: argparse.Namespace) -> int:
    from pairmill.runners.gc_command import collect_waste

    yes = arguments.yes and not arguments.dry_run
    return collect_waste(arguments.work, arguments.keep_builds, arguments.drop_spool, yes)

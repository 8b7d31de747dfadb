"""``pairmill subset``: the uids of a build's samples as DataComp's resharder takes them."""

from __future__ import annotations

from pathlib import Path

from pairmill.sharding.datacomp_subset import subset_uids, write_subset
from pairmill.sharding.errors import UsageError
from pairmill.sharding.manifest import MANIFEST_NAME, read_manifest
from pairmill.sharding.shard_plan import in_splits


def write_build_subset(build: Path, out: Path, split: str | None = None, once: bool = False) -> int:
    """Write the subset file of a finished build, or of a dataset by itself; returns 0.

    ``split``: of one split alone; ``once``: each pair once, however often it is written. Raises UsageError for a build
    without a finished dataset, a split that it does not have, and a name that does not end in .npy.
    """
    if out.suffix != ".npy":
        raise UsageError(f"--out {out}: a DataComp subset is a .npy file; name one")
    dataset = build if (build / MANIFEST_NAME).is_file() else build / "dataset"
    if not (dataset / MANIFEST_NAME).is_file():
        raise UsageError(
            f"{build} has no finished dataset (no {MANIFEST_NAME}); pairmill status {build} tells how far it is"
        )
    splits = read_manifest(dataset).splits
    wanted = None if split is None else (split,)
    if not any(in_splits(name, wanted) for name in splits):
        raise UsageError(f"--split {split}: the dataset has {', '.join(splits) or 'no samples'}")
    shards = [shard for name, of_split in splits.items() if in_splits(name, wanted) for shard in of_split]
    uids = subset_uids(dataset, shards, once)
    write_subset(out, uids)
    pairs = uids.height if once else uids.unique().height
    print(f"{out}: {uids.height:,} uids of {pairs:,} pairs")
    return 0

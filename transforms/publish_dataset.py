"""A finished dataset to any store: every file whole and compared, the manifest last; the mirror of staging in."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.manifest import MANIFEST_NAME, ManifestError, read_manifest
from pairmill.sharding.publish import FileSum
from pairmill.sharding.verify import verify_sizes
from pairmill.transforms.dataset_copy import Copied, CopyCount, CopySettings, copy_files, open_store
from pairmill.transforms.hub_target import HubTarget, is_hub_repository
from pairmill.transforms.store_target import Compared, StoreTarget


@dataclass(frozen=True)
class Published(Copied):
    """What was done; ``compared``: how many copied files were compared with the store's sum, its bytes, its size."""

    compared: dict[Compared, int] = field(default_factory=dict)


def publish_dataset(
    dataset: Path,
    url: str,
    settings: CopySettings | None = None,
    progress: Callable[[int, int], None] = lambda done, all_bytes: None,
) -> Published:
    """Copy a build's dataset, or a dataset by itself, to a folder of any store; the same call goes on after a crash.

    ``progress`` is told the bytes that are in place and all bytes. Raises UsageError where there is no whole dataset,
    where the folder holds something else, and where it cannot be written, before anything is copied; PairmillError when
    a file does not arrive, or is not what the manifest tells.
    """
    settings = settings or CopySettings()
    dataset = dataset if (dataset / MANIFEST_NAME).is_file() else dataset / "dataset"
    try:
        manifest = read_manifest(dataset)
    except ManifestError as error:
        raise UsageError(str(error)) from error
    if faults := verify_sizes(dataset, manifest.files):
        raise UsageError(f"{dataset}: {faults[0]}; shard-stats --verify lists all faults")
    raw = (dataset / MANIFEST_NAME).read_bytes()
    started = time.monotonic()
    known = {file.name: file for file in manifest.files}
    target = _target(url)
    found = target.find()
    if MANIFEST_NAME in found and target.read(MANIFEST_NAME) != raw:
        raise UsageError(f"{url} holds another dataset; choose another folder, or remove it")
    there = [file for file in manifest.files if found.get(file.name, {}).get("size") == file.bytes]
    if settings.recheck:
        with ThreadPoolExecutor(settings.streams, thread_name_prefix="recheck") as pool:
            same = pool.map(lambda file: target.holds(dataset / file.name, file, found[file.name]), there)
            there = [file for file, holds in zip(there, same, strict=True) if holds]
    names = {file.name for file in there}
    wanted = [file for file in manifest.files if file.name not in names]
    compared: Counter[Compared] = Counter()
    if wanted or MANIFEST_NAME not in found:
        target.begin(hashlib.sha256(raw).hexdigest(), known, found)
        if MANIFEST_NAME in found:
            target.unfinish()
        count = CopyCount(sum(file.bytes for file in there), sum(file.bytes for file in manifest.files), progress)
        if isinstance(target, HubTarget):
            compared.update(target.put_all(dataset, wanted, count, settings))
        else:
            compared = _copy(dataset, target, wanted, count, settings, url)
            _check_all(target, manifest.files, url)
        target.finish(raw)
    return Published(
        copied_files=len(wanted),
        copied_bytes=sum(file.bytes for file in wanted),
        present_files=len(there),
        present_bytes=sum(file.bytes for file in there),
        seconds=time.monotonic() - started,
        compared=dict(compared),
    )


def check_target(url: str) -> None:
    """Look at a folder that a dataset is to be copied to later; raises UsageError where it cannot be listed."""
    _target(url).find()


def _target(url: str) -> StoreTarget | HubTarget:
    store, root = open_store(url)
    return HubTarget(store, root, url) if is_hub_repository(store, root) else StoreTarget(store, root, url)


def _copy(
    dataset: Path, target: StoreTarget, wanted: list[FileSum], count: CopyCount, settings: CopySettings, url: str
) -> Counter[Compared]:
    compared: Counter[Compared] = Counter()
    lock = threading.Lock()

    def once(file: FileSum, stop: threading.Event) -> None:
        how = target.put(dataset / file.name, file, count, stop)
        with lock:
            compared[how] += 1

    copy_files(wanted, once, settings, url.rstrip("/"))
    return compared


def _check_all(target: StoreTarget, files: tuple[FileSum, ...], url: str) -> None:
    """The last look before the manifest: another may have written or removed something meanwhile."""
    found = target.find()
    for file in files:
        size = found.get(file.name, {}).get("size")
        if size != file.bytes:
            told = "is not there any more" if size is None else f"has {size} bytes, {MANIFEST_NAME} says {file.bytes}"
            raise PairmillError(f"{url}/{file.name}: {told}; run the same command again to go on")

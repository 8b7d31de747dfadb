"""What of a work folder no build needs: found, told with its size, and removed where that was asked for.

A build needs the stores that it noted (``known_builds``). Nothing here is needed by a resume: not what killed attempts
left, nor answers that were journalled for builds that are finished. The folder's lock keeps running builds out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pairmill.pipeline.known_builds import KnownBuild, forget_build, known_builds
from pairmill.sharding.errors import UsageError
from pairmill.sharding.publish import TEMPORARY_MARK
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.spool import find_orphans, remove_orphans
from pairmill.transforms.spool_drop import drop_parts, missing_parts, spool_tars

#: The folders of a work folder that hold a folder for each store.
STORE_FOLDERS = ("columns", "log", "spool", "journal")
#: Every build over the folder uses these; an unused one is old only where another one of its kind is in use.
_SHARED_STEPS = ("pool", "segments", "fetch")
_COLUMN_FILE = re.compile(r"([0-9a-f]{12})\.p(\d+)\.parquet")


@dataclass(frozen=True)
class Waste:
    """Something that can go: what it is, how many files, their bytes, and how it is removed."""

    what: str
    files: int
    bytes: int
    remove: Callable[[], object] = field(compare=False)


@dataclass(frozen=True)
class Survey:
    """What was found, and what a reader should know of what stays."""

    waste: tuple[Waste, ...]
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """What removing all of it frees."""
        return sum(found.bytes for found in self.waste)


def survey_work(work: Path, keep: Sequence[Path] = (), drop_spool: bool = False) -> Survey:
    """Look through a work folder, and change nothing. Call it, and what it returns, under the folder's lock.

    ``keep``: the builds to keep the stores of (default: all that were noted and are still there). ``drop_spool``: also
    the stored images, as ``pairmill run --spool drop`` does, unless a build that is not finished needs them. Raises
    UsageError for a folder that is no work folder, and for a build that was not noted.
    """
    if not (work / "work.json").is_file():
        raise UsageError(f"{work} is no work folder (it has no work.json); name the --work of a run, or BUILD/work")
    builds, notes = _builds(work, keep)
    needed = {store for build in builds for store in build.stores}
    names = sorted({path.name for folder in STORE_FOLDERS for path in (work / folder).glob("*") if path.is_dir()})
    unused = _unused(names, needed) if builds else []
    if not builds and names:
        notes.append(
            "no build is noted here, so that every store is taken for needed; run each build once more to note it"
        )
    waste = [_files("files that killed attempts left unfinished", _unfinished(work))]
    for name in names:
        if name in unused:
            folders = [work / folder / name for folder in STORE_FOLDERS]
            waste.append(_files(f"{name}: columns that no known build uses", _below(folders)))
            continue
        users = [build for build in builds if name in build.stores]
        waste += _of_store(work, name, bool(users) and all(build.is_finished for build in users))
        if drop_spool and name.startswith("fetch-"):
            waste += _spool(work, name, users, notes)
    waste += _gone(work, keep)
    return Survey(tuple(found for found in waste if found.files), tuple(notes))


def _builds(work: Path, keep: Sequence[Path]) -> tuple[list[KnownBuild], list[str]]:
    """The builds whose stores are needed."""
    try:
        builds = known_builds(work)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{work}/builds holds a note that cannot be read ({error}); remove it first") from error
    if keep:
        known = {build.folder: build for build in builds}
        for folder in keep:
            if folder.resolve() not in known:
                raise UsageError(f"--keep-builds {folder}: no such build is noted in {work}/builds")
        return [known[folder.resolve()] for folder in keep], []
    return [build for build in builds if build.is_there], []


def _unused(names: Sequence[str], needed: Collection[str]) -> list[str]:
    steps = {name.rpartition("-")[0] for name in needed}
    unused = [name for name in names if name not in needed]
    return [name for name in unused if (step := name.rpartition("-")[0]) not in _SHARED_STEPS or step in steps]


def _of_store(work: Path, name: str, finished: bool) -> Iterator[Waste]:
    """The leftovers of a store that is needed; ``finished``: so are all builds that use it."""
    store = _store(work, name)
    commits = store.log.read()
    places = {(commit.block, commit.part): commit.path for commit in commits}
    yield _files(f"{name}: column files that were packed into others", _packed(store, places))
    if finished:
        journal = work / "journal" / name
        yield _files(f"{name}: answers that are committed", _below([journal]))
    if name.startswith("fetch-"):
        orphans = _files(f"{name}: tars that no column file names", find_orphans(store, commits))
        yield replace(orphans, remove=partial(remove_orphans, store, commits))
        if missing := missing_parts(store, commits):
            what = f"{name}: parts whose tars are missing; they are noted as dropped"
            yield Waste(what, len(missing), 0, partial(drop_parts, store, missing))


def _packed(store: StepStore, places: dict[tuple[int, int], str]) -> Iterator[Path]:
    """Column files beside those that the log names; one that is published and not logged is adopted by a resume."""
    named = set(places.values())
    for path in store.columns_folder.glob("**/*.parquet"):
        relative = path.relative_to(store.columns_folder).as_posix()
        match = _COLUMN_FILE.fullmatch(path.name)
        if relative in named:
            continue
        if path.name.startswith("pack-") or (match and (int(match[1], 16), int(match[2])) in places):
            yield path


def _spool(work: Path, name: str, users: Sequence[KnownBuild], notes: list[str]) -> Iterator[Waste]:
    unfinished = [build for build in users if not build.is_finished]
    if unfinished:
        notes.append(f"{name}: its images stay, {unfinished[0].folder} is not finished and needs them")
        return
    store = _store(work, name)
    tars = spool_tars(store)
    size = sum(path.stat().st_size for paths in tars.values() for path in paths)
    yield Waste(f"{name}: stored images", sum(map(len, tars.values())), size, partial(drop_parts, store, tars))


def _gone(work: Path, keep: Sequence[Path]) -> Iterator[Waste]:
    """Notes of builds whose folders are gone, or that are not to be kept."""
    kept = {folder.resolve() for folder in keep}
    for build in known_builds(work):
        if not build.is_there and build.folder not in kept:
            yield Waste(f"the note of {build.folder}, which is gone", 1, 0, partial(forget_build, work, build.folder))


def _unfinished(work: Path) -> Iterator[Path]:
    return (path for path in work.rglob(f"*{TEMPORARY_MARK}*") if path.is_file())


def _below(folders: Iterable[Path]) -> Iterator[Path]:
    return (path for folder in folders for path in folder.rglob("*") if path.is_file())


def _files(what: str, paths: Iterable[Path]) -> Waste:
    found = list(paths)
    return Waste(what, len(found), sum(path.stat().st_size for path in found), partial(_remove_files, found))


def _remove_files(paths: Collection[Path]) -> None:
    """Remove files, and the folders that are empty then."""
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in sorted({path.parent for path in paths}, key=lambda folder: -len(folder.parts)):
        for empty in (folder, *folder.parents):
            if not empty.is_dir() or any(empty.iterdir()):
                break
            empty.rmdir()


def _store(work: Path, name: str) -> StepStore:
    """A store by the name that its folders share; of its own run, so that nothing read before is taken for true."""
    step, _, fingerprint = name.rpartition("-")
    return StepStore(str(work.resolve()), step, fingerprint, "gc")

"""``manifest.json``: the commit mark of a dataset, and the sum of every file in it.

It is written last. A folder without it is a dataset in the making, and readers leave it alone. It holds nothing that
differs between two runs of the same work: no times, no host names, no absolute paths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.indexes import json_text
from pairmill.sharding.publish import TEMPORARY_MARK, FileSum, publish_bytes, sum_file, sync_folder
from pairmill.sharding.record import RecordSchema

MANIFEST_NAME = "manifest.json"
FORMAT = "pairmill-dataset"
FORMAT_VERSION = 1


class ManifestError(PairmillError):
    """A manifest that is absent, damaged or of another format; one line that names the file and what is wrong."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.args[0]} {self.what}"


@dataclass(frozen=True)
class Manifest:
    """All that identifies a dataset. Raises ValueError when its own counts contradict each other."""

    splits: dict[str, dict[str, int]]  # split (or split-group) -> shard name without .tar -> samples, in order
    files: tuple[FileSum, ...]  # every file in the folder but the manifest, by name
    seed: int
    record: RecordSchema  # of the json members
    image_ext: str = "jpg"
    recipe_name: str = ""
    recipe_fingerprint: str = ""
    recipe_text: str = ""
    versions: dict[str, str] = field(default_factory=dict)  # of pairmill and of what touches pixels or text
    #: Scorer → its ``columns`` and what decides their numbers (kind, model, sha256, preprocessing, scale and so on).
    scorers: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Text that a model wrote → its ``columns`` and what decides it (kind, model, prompt, sampling and so on).
    words: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: What the shard groups are: ``by``, and ``groups``, name → the values of its rows; empty without groups.
    groups: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("a manifest names each file once")
        for name in names:
            _check_relative(name)
        written = {PurePosixPath(name).name for name in names if name.endswith((".tar", ".mds"))}
        for shard in self.shards:
            if f"{shard}.tar" not in written and f"{shard}.mds" not in written:
                raise ValueError(f"shard {shard} is counted in a split, but {shard}.tar is not among the files")

    @property
    def samples(self) -> int:
        """The samples of all splits."""
        return sum(sum(shards.values()) for shards in self.splits.values())

    @property
    def shards(self) -> dict[str, int]:
        """Shard name without .tar to samples, over all splits."""
        return {name: samples for shards in self.splits.values() for name, samples in shards.items()}

    @property
    def format(self) -> Literal["webdataset", "mds", "both"]:
        """Which files hold the shards: tars, MDS, or both."""
        tars, mds = (any(file.name.endswith(suffix) for file in self.files) for suffix in (".tar", ".mds"))
        return "both" if tars and mds else "mds" if mds else "webdataset"

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that the file holds."""
        return {
            "format": FORMAT,
            "format_version": self.format_version,
            "samples": self.samples,
            "splits": {
                split: {"samples": sum(shards.values()), "shards": len(shards)} for split, shards in self.splits.items()
            },
            "shards": self.splits,
            "image_ext": self.image_ext,
            "record": self.record,
            "seed": self.seed,
            "recipe": {"name": self.recipe_name, "fingerprint": self.recipe_fingerprint, "text": self.recipe_text},
            "versions": dict(sorted(self.versions.items())),
            "scorers": self.scorers,
            **({"words": self.words} if self.words else {}),
            **({"groups": self.groups} if self.groups else {}),
            "files": {
                file.name: {"bytes": file.bytes, "sha256": file.sha256}
                for file in sorted(self.files, key=lambda file: file.name)
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        """The inverse of ``to_dict``; raises KeyError, TypeError or ValueError for what is not such an object."""
        manifest = cls(
            splits={
                str(split): {str(name): int(samples) for name, samples in shards.items()}
                for split, shards in data["shards"].items()
            },
            files=tuple(
                FileSum(str(name), int(file["bytes"]), str(file["sha256"])) for name, file in data["files"].items()
            ),
            seed=int(data["seed"]),
            record=dict(data["record"]),
            image_ext=str(data["image_ext"]),
            recipe_name=str(data["recipe"]["name"]),
            recipe_fingerprint=str(data["recipe"]["fingerprint"]),
            recipe_text=str(data["recipe"]["text"]),
            versions={str(name): str(version) for name, version in data["versions"].items()},
            scorers={str(name): dict(told) for name, told in data.get("scorers", {}).items()},
            words={str(name): dict(told) for name, told in data.get("words", {}).items()},
            groups=dict(data.get("groups", {})),
            format_version=int(data["format_version"]),
        )
        if manifest.samples != data["samples"]:
            raise ValueError(f"it says {data['samples']} samples, its shards hold {manifest.samples}")
        return manifest


def write_manifest(folder: Path, manifest: Manifest) -> FileSum:
    """Write ``manifest.json`` whole, after everything else in ``folder`` is on the disk."""
    sync_folder(folder)
    written = publish_bytes(folder / MANIFEST_NAME, json_text(manifest.to_dict()), folder)
    sync_folder(folder)
    return written


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``; raises ManifestError, one line, when it is absent, damaged or of a later format."""
    path = folder / MANIFEST_NAME
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ManifestError(path, "is not there: the dataset was not finished, or this is not a dataset") from None
    except OSError as error:
        raise ManifestError(path, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(path, f"is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ManifestError(path, f"is not the manifest of a pairmill dataset (no format {FORMAT!r} in it)")
    version = data.get("format_version")
    if version != FORMAT_VERSION:
        raise ManifestError(path, f"has format version {version}; this pairmill reads version {FORMAT_VERSION}")
    try:
        return Manifest.from_dict(data)
    except KeyError as error:
        raise ManifestError(path, f"lacks {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ManifestError(path, f"is damaged: {error}") from error


def dataset_files(folder: Path) -> list[Path]:
    """Every file under ``folder`` that a manifest should name, sorted by path; temporary files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and TEMPORARY_MARK not in path.name and path != folder / MANIFEST_NAME
    )


def sum_other_files(folder: Path, known: Mapping[str, FileSum]) -> tuple[FileSum, ...]:
    """The sums of all files under ``folder``: those already ``known`` by name as they are, the others read now."""
    names = [(path, path.relative_to(folder).as_posix()) for path in dataset_files(folder)]
    return tuple(known[name] if name in known else sum_file(path, folder) for path, name in names)


def _check_relative(name: str) -> None:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise ValueError(f"file name {name!r} leads out of the dataset")

"""What a recipe says about its pool: where it lies, in which format, and which column is what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pairmill.sharding.pair import MAX_BLOCK_ROWS
from pairmill.transforms.pool.presets import PRESETS, FieldType, PoolFormat


class PoolError(ValueError):
    """A pool that cannot be read as asked: one line that says what, where, and what to do."""


@dataclass(frozen=True)
class PoolSpec:
    """A pool and how to read it.

    ``path`` is a file or a folder, which is searched to any depth. ``format`` is told from the file names when it is
    ``auto``; ``documents`` (interleaved texts and images, in jsonl or parquet) must be asked for.

    ``columns`` maps our name to the file's: ``{"url": "src", "caption": "alt", "source": "site"}``. It goes before the
    preset's map. An empty name, ``{"caption": ""}``, says that the pool has no such column. Without map and preset a
    table must have ``caption`` and one of ``url`` and ``path``; ``uid`` is taken where it is there.
    ``dtypes`` gives further columns (by our name) a type; csv and tsv columns are text unless told so.
    ``keep_columns`` names the further columns to pass on, by our name.

    ``path`` cells of a table are relative to ``image_root``, which is the pool's folder by default.
    ``block_rows`` is the size of a block in rows. ``rekey`` sets the pool's own uids aside (as ``pool_uid``) and
    makes new ones from (url or path, caption).

    Of documents: ``columns`` may also name the lists ``texts`` and ``images``, and ``document_id``.
    Of csv and tsv: ``delimiter`` is one character; ``header`` names the columns of files that have no header line;
    ``quoting`` is whether ``"`` quotes a field (true unless a preset says no).

    Raises ValueError for a value outside its range; what needs a look at the files is checked by ``plan_segments``.
    """

    path: str
    format: PoolFormat = "auto"
    preset: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, FieldType] = field(default_factory=dict)
    keep_columns: tuple[str, ...] | Literal["all"] = "all"
    image_root: str | None = None
    block_rows: int = 10_000
    rekey: bool = False
    delimiter: str | None = None
    header: tuple[str, ...] | None = None
    quoting: bool | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("pool path is empty; give a file or a folder")
        if "://" in self.path:
            raise ValueError(f"pool path {self.path!r} is not a local path; mount or copy the pool first")
        if not 1 <= self.block_rows <= MAX_BLOCK_ROWS:
            raise ValueError(f"pool block_rows {self.block_rows} is outside 1..{MAX_BLOCK_ROWS}")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"pool preset {self.preset!r} is unknown; there are {', '.join(sorted(PRESETS))}")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(f"pool delimiter {self.delimiter!r} is not one character that can part fields")
        if self.header is not None and (not self.header or len(set(self.header)) != len(self.header)):
            raise ValueError("pool header is empty or repeats a name; name each column of the file once")
        if isinstance(self.keep_columns, str) and self.keep_columns != "all":
            raise ValueError(f"pool keep_columns is {self.keep_columns!r}; give a list of column names, or all")
        for name, kind in self.dtypes.items():
            if kind not in ("string", "int", "float", "bool"):
                raise ValueError(f"pool dtypes: {name} is {kind!r}; use string, int, float or bool")


def pool_root(spec: PoolSpec) -> Path:
    """The folder that the ``path`` column of the pool's blocks is relative to."""
    if spec.image_root is not None:
        return Path(spec.image_root)
    path = Path(spec.path)
    return path if path.is_dir() else path.parent

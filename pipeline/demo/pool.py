"""The embedded pool: drawn pictures with true captions, and among them the faults of the real web, planted."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import polars as pl

from pairmill.pipeline.demo.painter import PICTURES, Painter
from pairmill.pipeline.demo.planters import plant
from pairmill.pipeline.demo.planting import Draft, settle

POOL_FILE = "pool.parquet"
MIN_ROWS = 80

#: Of every hundred rows, how many hold each planted fault (at least one of each, in the smallest pool too).
SHARES: dict[str, float] = {
    "repeated_row": 0.5,
    "repeated_url": 3.0,
    "same_bytes": 3.0,
    "resized": 3.0,
    "recompressed": 3.0,
    "recoloured": 1.0,
    "blank": 0.4,
    "status_404": 2.0,
    "status_403": 0.5,
    "status_500": 0.3,
    "refused": 0.5,
    "once_429": 0.5,
    "hops": 0.5,
    "html": 1.0,
    "truncated": 1.0,
    "one_pixel": 0.5,
    "tiny": 1.0,
    "strip": 0.7,
    "exif": 0.7,
    "png": 1.0,
    "webp": 1.0,
    "robots_noai": 0.7,
    "null_caption": 1.0,
    "one_word": 1.0,
    "short": 0.5,
    "german": 1.5,
    "french": 1.5,
}
_ORDER_STREAM = 1 << 40  # a stream of random numbers that no picture uses


def write_demo_pool(folder: Path, base_url: str, rows: int = 800, seed: int = 0) -> Path:
    """Draws ``rows`` pairs into ``folder`` and returns the pool's parquet file there.

    Pictures go to ``folder/pictures``; ``base_url`` is where ``serve_folder(folder)`` serves them. Columns are
    those of ``planting.POOL_SCHEMA``: what is planted in each row, and what the ledger must say of it. The same
    arguments give the same bytes. Raises ValueError for fewer than 80 rows, and FileExistsError when ``folder``
    holds a pool already.
    """
    if rows < MIN_ROWS:
        raise ValueError(f"rows: {rows} is too few to hold every planted fault; give {MIN_ROWS} or more")
    (folder / PICTURES).mkdir(parents=True)
    painter = Painter(folder, seed)
    drafts: list[Draft] = []
    for kind, share in SHARES.items():
        for number in range(max(1, round(rows * share / 100))):
            drafts.extend(plant(painter, kind, number))
    while len(drafts) < rows:
        drafts.append(painter.good_pair()[0])
    order = np.random.default_rng((seed, _ORDER_STREAM)).permutation(len(drafts))
    path = folder / POOL_FILE
    settle([drafts[i] for i in order], base_url).write_parquet(path)
    return path


def pool_port(folder: Path) -> int:
    """The port in the URLs of the pool in ``folder``, to serve it there again; 0 where there is no pool."""
    if not (folder / POOL_FILE).is_file():
        return 0
    good = pl.read_parquet(folder / POOL_FILE, columns=["url", "planted"]).filter(planted="")
    return urlsplit(str(good["url"][0])).port or 0


def truth_of_pool(path: Path) -> pl.DataFrame:
    """What ``truth_table`` wants to know of a pool: row (its number in pool order), planted, expect."""
    return pl.read_parquet(path, columns=["planted", "expect"]).with_row_index("row")

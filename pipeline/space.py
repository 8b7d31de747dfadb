"""The space check before work: a run that cannot fit says so before it has spent an hour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pairmill.pipeline.prepared import Prepared
from pairmill.sharding.errors import UsageError
from pairmill.sharding.free_space import existing, free_bytes

#: Bytes of JPEG for a pixel at quality 95, the larger half of photographs; 30 KB for 256 x 256 (img2dataset's README).
BYTES_PER_PIXEL = 0.45
#: Columns, ledger and tar headers of one row.
BYTES_PER_ROW = 2500
#: While a run only selects: uids, their words, two codes, the keys of duplicates of two kinds, ledger and kept uids.
SELECT_BYTES_PER_ROW = 160
#: Of embeddings whose width only the model knows.
MOST_DIMENSIONS = 1024
#: A MinHash band of a caption: its key, and who has it.
BAND_BYTES = 16
#: A row of csv or jsonl with a URL and a caption is rarely shorter.
POOL_BYTES_PER_ROW = 120


def check_select_space(prepared: Prepared, out: Path) -> None:
    """Raise UsageError where the disk has less room than a run that only selects may take while it runs."""
    rows = sum(_rows(segment.rows, segment.size) for segment in prepared.segments)
    _require({existing(out): rows * (SELECT_BYTES_PER_ROW + 16 * len(prepared.job.selections))}, rows)


def check_space(prepared: Prepared, out: Path, work: Path) -> None:
    """Raise UsageError where the disk has less room than spool and shards of the pool's rows would take.

    An estimate from above that ignores what is there already: every row is taken for an image of the largest size.
    """
    rows = sum(_rows(segment.rows, segment.size) for segment in prepared.segments)
    size = prepared.job.image.size if prepared.job.image.resize_mode != "no" else 1024
    vectors = sum(
        (run.scorer.embedding_width() or MOST_DIMENSIONS) * 2 * len(run.embedding_columns())
        for run in prepared.job.scorers
    )
    spool = rows * int(size * size * 0.75 * BYTES_PER_PIXEL + BYTES_PER_ROW + vectors)
    there = sum(commit.counts.get("stored_bytes", 0) for commit in prepared.job.fetch_store.log.read())
    needs = {existing(work): max(0, spool - there)}
    mixture = prepared.job.mixture
    shards = spool if mixture is None else spool // max(1, rows) * mixture.expected_samples(rows)
    formats = 2 if prepared.job.shards.format == "both" else 1
    if prepared.job.shards.is_global and shards > prepared.job.shards.most_random_bytes:
        formats += 1  # images are brought together beside them
    needs[existing(out)] = needs.get(existing(out), 0) + formats * shards + rows * _compared_bytes(prepared)
    _require(needs, rows)


def _require(needs: Mapping[Path, int], rows: int) -> None:
    by_device: dict[int, tuple[Path, int]] = {}
    for folder, need in needs.items():
        device = folder.stat().st_dev
        by_device[device] = (folder, by_device.get(device, (folder, 0))[1] + need)
    for folder, need in by_device.values():
        free = free_bytes(folder)
        if need > free:
            raise UsageError(
                f"{folder}: up to {need / 1e9:.1f} GB are needed for {rows:,} rows, {free / 1e9:.1f} GB are free; "
                "free some, choose other folders with --out and --work, or pass --no-space-check if you know better"
            )


def _compared_bytes(prepared: Prepared) -> int:
    """What a row takes in the build folder while captions and embeddings are compared."""
    settings, needed = prepared.job.duplicates, 0
    if settings.caption_minhash != "off":
        needed += BAND_BYTES * settings.minhash_match.bands + POOL_BYTES_PER_ROW
    if settings.semantic != "off":
        column = settings.semantic_match.column
        widths = [run.scorer.embedding_width() for run in prepared.job.scorers if column in run.embedding_columns()]
        needed += (
            2 * (next(iter(widths), None) or MOST_DIMENSIONS) + POOL_BYTES_PER_ROW * settings.semantic_match.probes
        )
    return needed


def _rows(rows: int | None, size: int) -> int:
    return rows if rows is not None else size // POOL_BYTES_PER_ROW + 1

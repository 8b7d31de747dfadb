"""Decoding, preprocessing and forward of pairs, each alone, on one core: milliseconds a pair, as one line of JSON.

``python clip_parts.py SHARDS MODEL PAIRS DEVICE``; the functions are those that the scoring step calls. With another
device than ``cpu``, forward is left out.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import webdataset as wds

from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.device import single_threaded
from pairmill.transforms.score.stored_image import decode_stored

BATCH = 8


def measure(loaded: Any, bodies: list[bytes], captions: list[str], forward: bool) -> dict[str, float]:
    """Milliseconds a pair of each part; 0 for forward where it is left out."""
    seconds = dict.fromkeys(("decode", "preprocess", "forward"), 0.0)
    for start in range(0, len(bodies), BATCH):
        begun = perf_counter()
        images = [decode_stored(body) for body in bodies[start : start + BATCH]]
        decoded = perf_counter()
        batch = np.stack([loaded.prepare(image) for image in images])
        prepared = perf_counter()
        if forward:
            loaded.forward(batch)
        seconds["decode"] += decoded - begun
        seconds["preprocess"] += prepared - decoded
        seconds["forward"] += perf_counter() - prepared
    begun = perf_counter()
    ids, _ = loaded.tokenise(captions)
    tokenised = perf_counter()
    if forward:
        forward_texts(loaded, ids)
    seconds["preprocess"] += tokenised - begun
    seconds["forward"] += perf_counter() - tokenised
    return {part: 1000 * spent / len(bodies) for part, spent in seconds.items()}


def forward_texts(loaded: Any, ids: np.ndarray) -> None:
    """All texts in batches of one size, each at its own padded length."""
    lengths = loaded.padded_lengths(ids)
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            loaded.forward_texts(ids[some[np.minimum(np.arange(BATCH), len(some) - 1)], :length])


def main() -> None:
    shards, model, pairs, device = sys.argv[1:]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    samples = wds.WebDataset(shards, shardshuffle=False, empty_check=False).to_tuple("jpg", "txt")
    some = list(itertools.islice(samples, int(pairs)))
    bodies = [body for body, _ in some]
    captions = [text.decode() for _, text in some]
    loaded = ClipScorer(model=str(Path(model))).load("cpu" if device == "cpu" else "meta", "fp32")
    single_threaded()
    forward = device == "cpu"
    measure(loaded, bodies[:BATCH], captions[:BATCH], forward)  # to warm up
    print(json.dumps(measure(loaded, bodies, captions, forward)))


if __name__ == "__main__":
    main()

"""The plain loop that everybody writes: webdataset, open_clip's preprocessing and tokenizer, cosine of each pair.

``python clip_loop.py SHARDS MODEL PAIRS WORKERS THREADS OUT`` scores the first PAIRS samples, and prints the seconds
from the first request for data to the last score as JSON; imports and the loading of the model are not counted.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

import numpy as np
import open_clip
import torch
import webdataset as wds

BATCH = 64


def main() -> None:
    shards, folder, pairs, workers, threads, out = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    samples: Any = (
        wds.WebDataset(shards, shardshuffle=False, nodesplitter=None, empty_check=False)
        .decode("pil")
        .to_tuple("jpg;png;webp", "txt")
        .map_tuple(preprocess, lambda text: tokenizer([text])[0])
        .batched(BATCH)
    )
    loader = wds.WebLoader(samples, batch_size=None, num_workers=int(workers))
    scores: list[np.ndarray] = []
    started = perf_counter()
    with torch.inference_mode():
        for images, texts in loader:
            found = model.encode_image(images, normalize=True) * model.encode_text(texts, normalize=True)
            scores.append(found.sum(dim=1).numpy())
            if sum(map(len, scores)) >= int(pairs):
                break
    np.save(out, np.concatenate(scores))
    seconds = perf_counter() - started
    print(json.dumps({"seconds": seconds, "pairs": sum(map(len, scores))}))


if __name__ == "__main__":
    main()

"""The lines of the dataset's own README.md, those of the packages named: DATASET PACKAGE …."""

from __future__ import annotations

import os
import re
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from told import tell


def main(dataset: Path, packages: list[str]) -> None:
    os.chdir(dataset)
    blocks = re.findall(r"^```python\n(.*?)^```$", Path("README.md").read_text(), re.MULTILINE | re.DOTALL)
    found = {}
    for package in packages:
        (block,) = [block for block in blocks if f" {package} import " in block or f"import {package} " in block]
        found[package] = READ[package](block.replace("FOLDER", str(dataset)))
    tell(captions=found)


def each(block: str) -> list[str]:
    """The captions of one pass."""
    names: dict[str, Any] = {}
    exec(block, names)
    return sorted(pair["txt"] if isinstance(pair, dict) else pair[1] for pair in names["pairs"])


def energon(block: str) -> list[str]:
    """The first batches: it goes on without end."""
    names: dict[str, Any] = {}
    exec(block, names)
    return [caption for batch in islice(names["pairs"], 2) for caption in batch.caption]


def dali(block: str) -> list[str]:
    """What a pipeline made of the lines gives in one pass."""
    from nvidia.dali import Pipeline

    names: dict[str, Any] = {}
    pipeline = Pipeline(batch_size=208, num_threads=1, device_id=None)
    with pipeline:
        exec(block, names)
        pipeline.set_outputs(names["captions"])
    pipeline.build()
    (captions,) = pipeline.run()
    return sorted(bytes(captions.at(number)).decode() for number in range(208))


READ = {"webdataset": each, "datasets": each, "megatron.energon": energon, "nvidia.dali": dali}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])

"""open_clip's own training, of a tiny model on the processor: DATASET COMMAND LOGS."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import open_clip
from open_clip_train.data import get_data, get_dataset_size
from open_clip_train.main import main as train
from open_clip_train.params import parse_args
from told import pixels, shard_members, tell

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
OPTIONS = "--model tiny --epochs 10 --lr 3e-3 --warmup 8 --device cpu --precision fp32 --log-every-n-steps 1 --seed 0"


def main(dataset: Path, command: Path, logs: Path) -> None:
    program, *words = shlex.split(command.read_text().replace("\\\n", " "))
    assert (program, words[:2]) == ("python", ["-m", "open_clip_train.main"])
    options = [*words[2:], *OPTIONS.split()]  # a later one counts
    members = shard_members(dataset)
    expected = sorted([found["txt"].decode(), digest(pixels(found["jpg"]))] for found in members.values())
    told = parse_args(options)
    told.world_size, told.rank, told.distributed = 1, 0, False
    see = lambda image: digest(pixels_of(image))  # noqa: E731
    loader = get_data(told, (see, see), epoch=0, tokenizer=lambda text: [text])["train"].dataloader
    seen = sorted([text, image] for images, texts in loader for text, image in zip(texts, images, strict=True))
    (logs / "tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(logs / "tiny.json")
    train([*options, "--logs", str(logs), "--name", "tiny"])
    log = (logs / "tiny" / "out.log").read_text()
    losses = [float(loss) for loss in re.findall(r" Loss: ([0-9.]+)", log)]
    sizes = get_dataset_size(told.train_data)  # of sizes.json: the command does not tell
    tell(sizes=sizes, samples=loader.num_samples, seen=seen, expected=expected, losses=losses)


def pixels_of(image: Any) -> bytes:
    """Of a picture that open_clip decoded."""
    return bytes(image.convert("RGB").tobytes())


def digest(data: Any) -> str:
    """Of pixels."""
    return hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

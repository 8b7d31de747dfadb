"""``python -m pairmill.pipeline.demo.training MODEL``: train a small model from nothing, and tell how good it is.

A model's module has ``train(out, seed)``, which writes its folder and says what it did, ``measure(folder)``, whose
numbers are told beside ``BARS``, the least that they may be. A model that needs another finds it in the folder beside
its own: ``all`` trains them in order.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairmill.pipeline.demo.training.pictures import TRAINING_SEED
from pairmill.pipeline.demo.training.record import Clock, missed, told, write_record

#: Folder of a model → the module in this package that trains it, in the order in which they need each other.
MODELS = {
    "clip": "clip",
    "captioner": "captioner",
    "git_captioner": "git_captioner",
    "translator": "translator",
}
#: Where the models of the project lie.
TRAINED = Path(__file__).parents[1] / "trained"


def main(argv: Sequence[str] | None = None) -> int:
    """Train or measure; returns the exit code: 0 all bars reached, 1 some missed, 2 used wrongly."""
    parser = argparse.ArgumentParser(prog="python -m pairmill.pipeline.demo.training", description=__doc__)
    parser.add_argument("model", choices=(*MODELS, "all"))
    parser.add_argument(
        "--out", type=Path, default=TRAINED, metavar="FOLDER", help="the model is written to FOLDER/MODEL"
    )
    parser.add_argument("--seed", type=int, default=TRAINING_SEED)
    parser.add_argument("--steps", type=int, help="in place of the steps that the numbers were reached with")
    parser.add_argument("--measure-only", action="store_true", help="measure what lies in FOLDER/MODEL")
    arguments = parser.parse_args(argv)
    names = tuple(MODELS) if arguments.model == "all" else (arguments.model,)
    try:
        return max(_run(name, arguments) for name in names)
    except (ValueError, OSError, ImportError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2


def _run(name: str, arguments: argparse.Namespace) -> int:
    module = importlib.import_module(f"pairmill.pipeline.demo.training.{MODELS[name]}")
    folder = arguments.out / name
    clock = Clock()
    trained = None if arguments.measure_only else {**_train(module, folder, arguments), **clock.seconds()}
    measured = module.measure(folder)
    bars = getattr(module, "BARS", {})
    if trained is not None:
        write_record(folder, f"python -m pairmill.pipeline.demo.training {name}", trained, measured)
        print(f"{name}: trained in {trained['wall_s']} s, {trained['cpu_s']} s of processor time, in {folder}")
    print(told(measured, bars), flush=True)
    return 1 if missed(measured, bars) else 0


def _train(module: Any, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    options = {} if arguments.steps is None else {"steps": arguments.steps}
    if options and "steps" not in inspect.signature(module.train).parameters:
        raise ValueError(f"{folder.name}: its steps cannot be chosen")
    return {"seed": arguments.seed, **module.train(folder, arguments.seed, **options)}


if __name__ == "__main__":
    sys.exit(main())

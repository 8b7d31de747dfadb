"""How the small CLIP and its vision tower learn: batches made by another process, Muon and AdamW, bfloat16."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

#: From the number of a step to the tensors of its batch; called in another process, so it must be picklable.
MakeBatch = Callable[[int], Sequence["Tensor"]]
#: From a batch to the parts of its loss by name; the loss is their sum.
Losses = Callable[..., dict[str, "Tensor"]]
_REPORT_EVERY = 100
_AHEAD = 6
_KNOWN_SHARE = 0.1


@dataclass(frozen=True)
class Course:
    """``steps`` of ``batch`` scenes.

    ``learning_rate`` is that of AdamW; ``matrix_rate`` that of Muon, which moves the matrices of the layers. Both rise
    over ``warmup`` steps and fall to nothing as a cosine does.
    """

    steps: int
    batch: int = 128
    learning_rate: float = 1.5e-3
    matrix_rate: float = 0.02
    weight_decay: float = 0.05
    warmup: int = 200


class _Batches:
    """A data set whose items are batches."""

    def __init__(self, make: MakeBatch, steps: int) -> None:
        self._make, self._steps = make, steps

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Sequence[Tensor]:
        import cv2

        cv2.setNumThreads(1)
        return self._make(step)


def batches(make: MakeBatch, steps: int) -> Iterator[Sequence[Tensor]]:
    """The batches of all steps in order, made ahead in one other process."""
    from torch.utils.data import DataLoader

    made: Iterable[Sequence[Tensor]] = DataLoader(
        _Batches(make, steps),  # type: ignore[arg-type]
        batch_size=None,
        num_workers=1,
        prefetch_factor=_AHEAD,
        multiprocessing_context="spawn",
    )
    yield from made


def teach(
    model: nn.Module,
    layers: Sequence[nn.Module],
    make: MakeBatch,
    losses: Losses,
    course: Course,
    known: nn.Module | None = None,
) -> None:
    """Train ``model``, whose ``layers`` are what Muon moves; prints the parts of the loss every 100 steps.

    The part of it that is ``known`` already moves at a tenth of the rates. The arithmetic is bfloat16, the weights
    stay float32.
    """
    import torch

    optimizers = _optimizers(model, layers, course, known)
    model.train()
    sums: dict[str, float] = {}
    begun = time.monotonic()
    for step, batch in enumerate(batches(make, course.steps)):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full"] * _share_of_rate(step, course)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts = losses(*batch)
        torch.stack(list(parts.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for name, part in parts.items():
            sums[name] = sums.get(name, 0.0) + float(part.detach())
        if (step + 1) % _REPORT_EVERY == 0:
            told = ", ".join(f"{name} {value / _REPORT_EVERY:.3f}" for name, value in sums.items())
            print(f"step {step + 1}: {told}, {time.monotonic() - begun:.0f} s", flush=True)
            sums = {}
    model.eval()


def _share_of_rate(step: int, course: Course) -> float:
    return min(1.0, (step + 1) / course.warmup) * (0.5 + 0.5 * math.cos(math.pi * step / course.steps))


def _optimizers(
    model: nn.Module, layers: Sequence[nn.Module], course: Course, known: nn.Module | None
) -> list[torch.optim.Optimizer]:
    import torch

    matrices = {id(parameter) for part in layers for parameter in part.parameters() if parameter.ndim == 2}
    slow = {id(parameter) for parameter in known.parameters()} if known is not None else set()
    groups: dict[bool, list[dict[str, Any]]] = {}
    for parameter in model.parameters():
        muon, share = id(parameter) in matrices, _KNOWN_SHARE if id(parameter) in slow else 1.0
        decay = course.weight_decay if parameter.ndim >= 2 else 0.0
        rate = share * (course.matrix_rate if muon else course.learning_rate)
        groups.setdefault(muon, []).append({"params": [parameter], "lr": rate, "full": rate, "weight_decay": decay})
    adam = torch.optim.AdamW(groups[False], betas=(0.9, 0.98), fused=True)
    return [adam, torch.optim.Muon(groups[True], adjust_lr_fn="original")]

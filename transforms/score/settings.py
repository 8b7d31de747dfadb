"""Where and how fast scorers run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal, get_args

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class InferenceSettings:
    """Where and how fast scorers run. Only ``precision`` belongs to a score's identity.

    device: ``auto`` is the first CUDA device where there is one, else the CPU. ``cuda`` or ``cuda:N`` that is not
        there is an error, never a silent run on the CPU.
    precision: in which numbers the models run. Scores are fp32 whatever it is. ``fp16`` needs a CUDA device.
    batch_size: items of one forward pass. Every pass has exactly so many, the last one padded, so that a score does
        not depend on how rows were bundled. It is halved where memory ends. None: 8 on the CPU, 256 on a GPU.
    threads: how many threads decode and prepare (and, on the CPU, run the model, one batch a thread, one core each).
        None: this process's share of the cores, see ``shared_among``.
    """

    device: str = "auto"
    precision: Precision = "fp32"
    batch_size: int | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            raise ValueError(f"device: {self.device!r} is not known; give auto, cpu, cuda or cuda:N")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision: {self.precision!r} is not known; give fp32, bf16 or fp16")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision: fp16 needs a CUDA device; on the CPU give fp32 or bf16")
        for name, least, most in (("batch_size", 1, 65_536), ("threads", 1, 1024)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name}: {value} cannot work; give {least} to {most}")

    def shared_among(self, processes: int) -> SharedInference:
        """The same for one of so many processes on this machine, with its share of the cores as ``threads``."""
        share = max(1, len(os.sched_getaffinity(0)) // processes)
        return SharedInference(self.device, self.precision, self.batch_size, self.threads or share, processes)


@dataclass(frozen=True)
class SharedInference(InferenceSettings):
    """Settings for one of ``processes`` on this machine that share the device.

    Where it is a GPU and they are several, one process more holds the models for them all (``model_server``).
    """

    processes: int = 1

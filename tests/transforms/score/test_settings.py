"""Settings that cannot work are told when they are made."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pairmill.transforms.score.kinds import SCORER_KINDS, scorer_class
from pairmill.transforms.score.scorer import Scorer
from pairmill.transforms.score.settings import InferenceSettings
from pairmill.transforms.score.timing import Timing


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"device": "gpu"}, "device: 'gpu'"),
        ({"device": "cuda:x"}, "device"),
        ({"precision": "int8"}, "precision: 'int8'"),
        ({"device": "cpu", "precision": "fp16"}, "fp16 needs a CUDA device"),
        ({"batch_size": 0}, "batch_size: 0"),
        ({"threads": 0}, "threads: 0"),
    ],
)
def test_wrong_settings_are_told(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        InferenceSettings(**parameters)


def test_a_process_takes_its_share_of_the_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    assert InferenceSettings().shared_among(1).threads == cores
    assert InferenceSettings().shared_among(2).threads == max(1, cores // 2)
    assert InferenceSettings().shared_among(1000).threads == 1
    shared = InferenceSettings(threads=7).shared_among(1000)
    assert (shared.threads, shared.processes) == (7, 1000)


def test_every_kind_is_a_scorer_of_its_own_word() -> None:
    for kind in SCORER_KINDS:
        found = scorer_class(kind)
        assert issubclass(found, Scorer)
        assert found.kind == kind
        assert found.source
    with pytest.raises(ValueError, match="did you mean 'clip'"):
        scorer_class("clips")


def test_what_binds_is_the_gpu_if_it_is_busy_and_else_the_larger_of_the_rest() -> None:
    assert Timing(decode_s=1, preprocess_s=2, forward_s=3).binds == "forward"
    assert Timing(decode_s=4, preprocess_s=2, forward_s=3).binds == "decode"
    assert Timing(decode_s=10, preprocess_s=11, forward_s=3, device_busy_s=9.5, wall_s=10).binds == "forward"
    assert Timing(decode_s=10, preprocess_s=11, forward_s=30, device_busy_s=5, wall_s=10).binds == "preprocess"
    total = Timing(pairs=3, wall_s=2.0) + Timing(pairs=5, wall_s=2.0)
    assert (total.pairs, total.pairs_per_s) == (8, 2.0)
    assert Timing().shares == {"decode": 0.0, "preprocess": 0.0, "forward": 0.0}

from __future__ import annotations

from pathlib import Path

import pytest

from pairmill.runners.train_text_classifier_command import train_classifier
from pairmill.sharding.errors import UsageError
from pairmill.transforms.score.text_classifier import TextClassifierScorer


def test_it_trains_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, out = tmp_path / "good.txt", tmp_path / "bad.txt", tmp_path / "quality.floret"
    good.write_text("".join(f"a red car number {n} beside a church\n" for n in range(100)))
    bad.write_text("".join(f"IMG_{n}.jpg\n" for n in range(100)))
    assert train_classifier(good, bad, out, seed=0) == 0
    told = capsys.readouterr().out
    assert "100 wanted, 100 not" in told
    assert "accuracy  1.0000" in told
    assert "text_classifier: {model: quality.floret, label: positive}" in told
    assert TextClassifierScorer(model=str(out), label="positive").identity()["sha256"] in told


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^train-text-classifier: .*gone: No such file"):
        train_classifier(tmp_path / "gone", tmp_path / "gone", tmp_path / "out", seed=0)

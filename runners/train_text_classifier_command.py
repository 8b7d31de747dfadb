"""``pairmill train-text-classifier``: a caption classifier from two text files."""

from __future__ import annotations

from pathlib import Path

from pairmill.sharding.errors import UsageError


def train_classifier(positives: Path, negatives: Path, out: Path, seed: int) -> int:
    """Train, write the model to ``out``, and print what was learned from and how well it does on held-out texts."""
    from pairmill.transforms.score.train_text_classifier import POSITIVE, TextTraining, train_text_classifier

    try:
        report = train_text_classifier(positives, negatives, out, TextTraining(seed=seed))
    except ValueError as error:
        raise UsageError(f"train-text-classifier: {error}") from error
    print(f"texts     {report.positives:,} wanted, {report.negatives:,} not; {report.in_both:,} in both files left out")
    print(f"held out  {report.held_out:,} texts that were not learned from")
    print(
        f"accuracy  {report.accuracy:.4f}; of {POSITIVE}: precision {report.precision:.4f}, recall {report.recall:.4f}"
    )
    print(f"sha256    {report.sha256}")
    print(f"{out}: name it in a recipe as text_classifier: {{model: {out.name}, label: {POSITIVE}}}")
    return 0

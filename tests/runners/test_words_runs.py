"""Texts in real runs over Beam: worker processes, kills, what recycles, what is selected before and behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

if TYPE_CHECKING:
    from conftest import Build, Mill

#: A writer of these tests' own, without torch. It notes every picture that it is shown in a file, and may be slow.
HANDLER = '''
import hashlib, json, os, time

class Teller:
    """How large a picture is; of some, nothing."""

    def load_model(self):
        return None

    def run_inference(self, batch, model, arguments=None):
        for image, prompt in batch:
            time.sleep(float(os.environ.get("PICTURE_S", "0")))
            digest = hashlib.sha256(image.tobytes()).hexdigest()
            handle = os.open(os.environ["SHOWN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, (json.dumps(digest) + "\\n").encode())
            os.close(handle)
            said = f"a picture of {image.width} pixels by {image.height} pixels and its number {digest[:6]}"
            yield None if digest[0] in "01" else said

'''


@dataclass
class Shown:
    """The pictures that the writer was shown, by all processes of all runs."""

    path: Path

    def read(self) -> list[str]:
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "teller_of_tests.py").write_text(HANDLER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("SHOWN", str(tmp_path / "shown.jsonl"))
    return Shown(tmp_path / "shown.jsonl")


def write_recipe(folder: Path, name: str, **keys: Any) -> Path:
    step = {"name": "size", "prompt": "How large?", "batch_size": 2, "handler": {"path": "teller_of_tests.Teller"}}
    recipe = {
        "name": name,
        "pool": {"path": "elsewhere", "columns": {"url": "url", "caption": "caption"}},
        "language": "off",
        "rules": [{"caption_length": {"min_words": 12, "min_chars": 0}}],
        "words": [{"recaption": step}],
        "text": {"choose": "sampled", "probabilities": {"caption": 0.5, "size": 0.5}},
        **keys,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(recipe))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("recycles", [False, True])
def test_workers_change_no_byte(mill: Mill, fresh: Build, shown: Shown, tmp_path: Path, recycles: bool) -> None:
    more: dict[str, Any] = {"recycle": {}} if recycles else {}
    recipe = write_recipe(tmp_path, "r", select=[{"column": "stored_bytes", "rows": 40}], **more)
    mill.run(fresh, "--quiet", recipe=recipe)
    fresh.assert_all_accounted_for()
    report = fresh.report()
    assert report["kept"] == 40
    # A budget is made before texts are written, or among what is kept at last.
    assert [step["name"] for step in report["steps"]][-2:] == (
        ["words", "selection"] if recycles else ["selection", "words"]
    )
    asked = report["words"]["size"]["rows"]
    assert asked > 60 if recycles else asked == 40
    if recycles:
        assert sum(report["recycle"]["recycled"].values()) > 5
        assert set(report["recycle"]["spoiled"]) == {"caption_too_few_words", "no_caption"}
    other = replace(fresh, out=tmp_path / "by-2", work=tmp_path / "work-2")
    mill.run(other, "--quiet", "--workers", "2", recipe=recipe)
    assert other.dataset() == fresh.dataset()
    assert mill.files(other.out / "ledger") == mill.files(fresh.out / "ledger")
    frame = pl.read_parquet(fresh.out / "dataset" / "metadata" / "*.parquet")
    assert set(frame["caption_size_status"]) == {"written", "empty"}
    assert set(frame["text_name"]) == {"caption", "size"}


@pytest.mark.slow
def test_killed_among_its_pictures_a_run_shows_none_of_them_twice(
    mill: Mill, fresh: Build, shown: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, "r")
    monkeypatch.setenv("PICTURE_S", "0.1")
    for _ in range(2):
        before = len(shown.read())
        process = mill.start(fresh, "--workers", "2", "--quiet", recipe=recipe)
        assert mill.until(_more(shown, before + 5), process)
        mill.kill(process)
    monkeypatch.setenv("PICTURE_S", "0")
    mill.run(fresh, "--workers", "2", "--quiet", recipe=recipe)
    pictures = shown.read()
    told = fresh.report()["words"]["size"]
    # A batch of two on its way in each of two workers, at each of two kills, was answered to nobody.
    assert len(pictures) - len(set(pictures)) <= 2 * 2 * 2
    assert told["rows"] == fresh.report()["kept"] > 20
    assert told["requests"] < told["rows"]
    other = replace(fresh, out=tmp_path / "unkilled", work=tmp_path / "new")
    mill.run(other, "--quiet", recipe=recipe)
    assert fresh.dataset() == other.dataset()
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()
    assert not list(fresh.work.glob("journal/**/*.jsonl"))


def _more(shown: Shown, count: int) -> Callable[[], bool]:
    return lambda: len(shown.read()) >= count


def test_status_and_the_end_of_a_run_tell_of_the_texts(mill: Mill, fresh: Build, shown: Shown, tmp_path: Path) -> None:
    said = mill.run(fresh, recipe=write_recipe(tmp_path, "r"))
    kept = fresh.report()["kept"]
    assert f"size: {kept:,} rows written for by Teller@" in said
    assert "size: no text for " in said
    status = mill.call([*mill.command(fresh)[:1], "status", str(fresh.out)]).stdout
    assert f"written  {kept:,} rows for the text size" in status


def test_a_captioner_that_cannot_be_had_is_told_at_once(mill: Mill, fresh: Build, tmp_path: Path) -> None:
    words = [{"recaption": {"name": "short", "model": str(tmp_path / "gone"), "prompt": "Describe the image."}}]
    line = mill.refused(fresh, recipe=write_recipe(tmp_path, "gone", words=words, text={}), code=2)
    assert "words[0].recaption: " in line
    assert "there is no such folder" in line
    assert not fresh.out.exists()


def test_texts_may_be_a_job_of_their_own(mill: Mill, fresh: Build, shown: Shown, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "sizes")
    whole = replace(fresh, out=tmp_path / "whole", work=tmp_path / "whole-work")
    mill.run(whole, recipe=recipe)
    seen = len(shown.read())
    told = mill.run(fresh, "--steps", "words", recipe=recipe)
    assert "; the same command without --steps goes on from here" in told
    assert sorted(shown.read()[seen:]) == sorted(shown.read()[:seen])
    assert not (fresh.out / "dataset" / "manifest.json").exists()
    mill.run(fresh, recipe=recipe)
    assert len(shown.read()) == 2 * seen
    assert fresh.dataset() == whole.dataset()

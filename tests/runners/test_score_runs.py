"""Scoring in real runs: worker processes, kills, further recipes, requests that are never made."""

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
    from conftest import Build, Mill, Served

DEMO_CLIP = Path(__file__).resolve().parents[2] / "pipeline" / "demo" / "trained" / "clip"
#: A scorer of these tests' own, without torch. It notes every call in a file, and may be slow.
HANDLER = '''
import json, os, time

class Brightness:
    """The mean grey of a picture; of a text its length."""

    def __init__(self, grey=True):
        self.grey = grey

    def load_model(self):
        note({"loaded": os.getpid()})
        return None

    def run_inference(self, batch, model, arguments=None):
        note({"batch": len(batch), "process": os.getpid()})
        time.sleep(float(os.environ.get("BATCH_S", "0")))
        for item in batch:
            if isinstance(item, str):
                yield float(len(item))
            else:
                yield sum(item.convert("L").resize((8, 8)).tobytes()) / 64 / 255

def note(what):
    handle = os.open(os.environ["CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (json.dumps(what) + "\\n").encode())
    os.close(handle)
'''


@dataclass
class Calls:
    """What the scorer was asked, by all processes of all runs."""

    path: Path

    def read(self, kind: str = "batch") -> list[dict[str, Any]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [told for line in lines if kind in (told := json.loads(line))]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "brightness_of_tests.py").write_text(HANDLER)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setenv("CALLS", str(tmp_path / "calls.jsonl"))
    return Calls(tmp_path / "calls.jsonl")


def write_recipe(folder: Path, name: str, at_least: float = 0.0, column: str = "", **scorers: dict[str, Any]) -> Path:
    handler = {"handler": {"handler": "brightness_of_tests.Brightness", "outputs": ["value"]}}
    recipe = {
        "name": name,
        "pool": {"path": "elsewhere", "columns": {"url": "url", "caption": "caption"}},
        "language": "off",
        "scorers": scorers or {"grey": handler},
        "inference": {"batch_size": 4, "device": "cpu"},
        "rules": [{"column_range": {"column": column or f"{next(iter(scorers), 'grey')}_value", "at_least": at_least}}],
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(recipe))
    return path


def scored_rows(build: Build) -> list[int]:
    files = sorted(build.work.glob("columns/score-*/*/*.parquet"))
    return [row for file in files for row in pl.read_parquet(file, columns=["row_id"])["row_id"]]


def test_workers_change_no_byte_and_each_loads_once(mill: Mill, fresh: Build, calls: Calls, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "grey", at_least=0.3)
    mill.run(fresh, "--quiet", recipe=recipe)
    assert len(calls.read("loaded")) == 1
    for workers in ("2", "4"):
        before = len(calls.read("loaded"))
        # The fetched bytes of one work folder, the scores of another: nothing but the number of processes differs.
        other = replace(fresh, out=tmp_path / f"by-{workers}", work=tmp_path / f"work-{workers}")
        mill.run(other, "--quiet", "--workers", workers, recipe=recipe)
        assert 1 <= len(calls.read("loaded")) - before <= int(workers)
        assert other.dataset() == fresh.dataset()
        assert mill.files(other.out / "ledger") == mill.files(fresh.out / "ledger")
    assert len({told["process"] for told in calls.read()}) > 3


@pytest.mark.slow
@pytest.mark.timeout(900)  # several runs that load torch in every worker
def test_a_real_clip_gives_the_same_bits_by_one_two_and_four_workers(mill: Mill, fresh: Build, tmp_path: Path) -> None:
    clip = {"clip": {"model": str(DEMO_CLIP), "embeddings": ["image", "text"]}}
    recipe = write_recipe(tmp_path, "clip", at_least=0.24, column="clip_similarity", clip=clip)
    mill.run(fresh, "--quiet", recipe=recipe)
    assert fresh.report()["rejected"]["clip_similarity_too_low"] > 5
    for workers in ("2", "4"):
        other = replace(fresh, out=tmp_path / f"by-{workers}", work=tmp_path / f"work-{workers}")
        mill.run(other, "--quiet", "--workers", workers, recipe=recipe)
        assert other.dataset() == fresh.dataset()
        assert mill.files(other.out / "ledger") == mill.files(fresh.out / "ledger")


@pytest.mark.slow
@pytest.mark.timeout(900)  # several runs that load torch in every worker
def test_a_row_that_a_looser_recipe_adds_gets_the_score_that_it_would_have_got_among_the_others(
    mill: Mill, fresh: Build, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, "clip", column="clip_similarity", clip={"clip": {"model": str(DEMO_CLIP)}})
    for words in (12, 0):
        settings = ("--set", f"rules=[{{caption_length: {{min_words: {words}, min_chars: 0}}}}]")
        mill.run(replace(fresh, out=tmp_path / f"apart-{words}"), "--quiet", *settings, recipe=recipe)
    assert parts_of_scores(fresh.work) == {0, 1}
    at_once = replace(fresh, out=tmp_path / "at-once", work=tmp_path / "new")
    mill.run(at_once, "--quiet", *settings, recipe=recipe)
    assert parts_of_scores(at_once.work) == {0}
    assert mill.files(tmp_path / "apart-0" / "dataset") == mill.files(at_once.out / "dataset")


def parts_of_scores(work: Path) -> set[int]:
    """The parts that scores came in."""
    return {int(path.stem.partition(".p")[2]) for path in work.glob("columns/score-*/*/*.parquet")}


def test_another_threshold_asks_no_model(
    mill: Mill, fresh: Build, calls: Calls, served: Served, tmp_path: Path
) -> None:
    mill.run(fresh, "--quiet", recipe=write_recipe(tmp_path, "all"))
    served.asked.clear()
    calls.path.unlink()
    cut = replace(fresh, out=tmp_path / "cut")
    mill.run(cut, "--quiet", "--workers", "2", recipe=write_recipe(tmp_path, "cut", at_least=0.5))
    assert not calls.path.exists()  # neither loaded nor asked
    assert not served.asked
    cut.assert_all_accounted_for()
    assert cut.report()["rejected"]["grey_value_too_low"] > 0
    assert cut.report()["score"]["images"]["measured"] == 0


def test_killed_in_the_middle_it_goes_on_where_it_was(
    mill: Mill, fresh: Build, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, "grey")
    monkeypatch.setenv("BATCH_S", "0.2")
    for _ in range(2):
        before = len(scored_rows(fresh)) if fresh.work.exists() else 0
        process = mill.start(fresh, "--workers", "2", "--quiet", recipe=recipe)
        assert mill.until(_more_parts(fresh), process)
        mill.kill(process)
        assert len(scored_rows(fresh)) > before
    monkeypatch.setenv("BATCH_S", "0")
    kept = mill.files(*fresh.work.glob("columns/score-*"))[0]
    done, asked = len(scored_rows(fresh)), sum(told["batch"] for told in calls.read())
    mill.run(fresh, "--workers", "2", "--quiet", recipe=recipe)
    assert kept.items() <= mill.files(*fresh.work.glob("columns/score-*"))[0].items()
    rows = scored_rows(fresh)
    assert len(rows) == len(set(rows)) > done
    told = fresh.report()["score"]["images"]["scorers"]["grey"]
    assert (told["pairs"], told["measured"]) == (len(rows), len(rows) - done)
    # Padding apart (three of four at most, for each block of twenty rows), only what was missing was asked for.
    assert sum(call["batch"] for call in calls.read()) - asked < (len(rows) - done) + 3 * 6 + 1
    other = replace(fresh, out=tmp_path / "unkilled", work=tmp_path / "new")
    mill.run(other, "--quiet", recipe=recipe)
    assert fresh.dataset() == other.dataset()
    fresh.assert_all_accounted_for()
    fresh.assert_nothing_left_over()


def _more_parts(build: Build) -> Callable[[], bool]:
    before = set(build.work.glob("columns/score-*/*/*.parquet"))
    return lambda: len(set(build.work.glob("columns/score-*/*/*.parquet")) - before) >= 1


def test_what_a_score_of_the_text_rejects_is_not_asked_for(
    mill: Mill, fresh: Build, calls: Calls, served: Served, tmp_path: Path
) -> None:
    handler = {"handler": "brightness_of_tests.Brightness", "input": "text", "outputs": ["value"]}
    lengths = sorted(len(text) for text in served.rows()["caption"] if text)
    bound = lengths[len(lengths) * 2 // 3]
    mill.run(fresh, "--quiet", recipe=write_recipe(tmp_path, "long", at_least=bound, long={"handler": handler}))
    captions = served.rows()["caption"].to_list()
    wanted = served.paths_of([row for row, text in enumerate(captions) if text and len(text) >= bound])
    assert set(served.asked) == wanted
    assert fresh.report()["rejected"]["long_value_too_low"] > ROWS_TO_MEAN_SOMETHING
    assert sum(told["batch"] for told in calls.read()) >= sum(bool((text or "").strip()) for text in captions)


#: Fewer rejected rows would show nothing.
ROWS_TO_MEAN_SOMETHING = 20


def test_status_and_the_end_of_a_run_tell_of_the_scores(mill: Mill, fresh: Build, calls: Calls, tmp_path: Path) -> None:
    shown = mill.run(fresh, recipe=write_recipe(tmp_path, "grey"))
    assert " scored, " in shown
    assert " pairs/s (" in shown
    status = mill.call([*mill.command(fresh)[:1], "status", str(fresh.out)]).stdout
    assert f"scored   {len(scored_rows(fresh)):,} pairs by grey" in status


def test_a_scorer_that_cannot_be_had_is_told_at_once(mill: Mill, fresh: Build, tmp_path: Path) -> None:
    handler = {"handler": "no_such_package.Model", "outputs": ["value"]}
    line = mill.refused(fresh, recipe=write_recipe(tmp_path, "gone", grey={"handler": handler}), code=2)
    assert "scorers.grey: " in line
    assert "no_such_package" in line
    assert not fresh.out.exists()


def test_parts_of_a_run_leave_the_rest_to_a_later_one(
    mill: Mill, fresh: Build, calls: Calls, served: Served, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path, "grey", at_least=0.3)
    whole = replace(fresh, out=tmp_path / "whole", work=tmp_path / "whole-work")
    mill.run(whole, recipe=recipe)
    first, measured = len(served.asked), len(calls.read())
    fetched = len(whole.fetched_rows())
    assert f"fetch {fetched}, grey 0;" in mill.run(fresh, "--steps", "fetch", recipe=recipe)
    # Retries of what fails for a while are more or fewer.
    assert set(served.asked[first:]) == set(served.asked[:first])
    asked = len(served.asked)
    assert len(calls.read()) == measured
    told = mill.run(fresh, "--steps", "score", "--workers", "2", recipe=recipe)
    assert f"fetch {fetched}, grey {len(scored_rows(whole))};" in told
    rows = sum(call["batch"] for call in calls.read())
    assert rows == 2 * sum(call["batch"] for call in calls.read()[:measured])
    assert not (fresh.out / "dataset" / "manifest.json").exists()
    mill.run(fresh, recipe=recipe)
    assert (len(served.asked), sum(call["batch"] for call in calls.read())) == (asked, rows)
    assert fresh.dataset() == whole.dataset()
    assert "the recipe has no steps that write texts" in mill.refused(fresh, "--steps", "words", code=2, recipe=recipe)

"""``pairmill gc``: what no build needs goes, and what a resume needs stays."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline.work import lock_folder
from pairmill.pipeline.work_gc import Survey, survey_work
from pairmill.runners.cli import main
from pairmill.sharding import step_store
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.transforms import fetch_step
from pairmill.transforms.spool import SpoolSink


class Killed(BaseException):
    """Like SIGKILL: no handler is to catch it."""


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def collect(work: Path, **how: Any) -> Survey:
    survey = survey_work(work, **how)
    for found in survey.waste:
        found.remove()
    return survey


def told(survey: Survey) -> list[str]:
    return [found.what for found in survey.waste]


@pytest.fixture(scope="module")
def made(small_pool: Any, builds: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and a finished build of it, with a work folder of its own."""
    folder = tmp_path_factory.mktemp("made")
    recipe = small_pool.recipe(folder / "r.yaml")
    builds.make(recipe, folder / "build", folder / "work", lanes=2)
    return recipe, folder / "build"


@pytest.fixture
def copied(made: tuple[Path, Path], builds: Any, tmp_path: Path) -> tuple[Path, Path]:
    """A work folder, and a finished build that uses it."""
    recipe, _ = made
    builds.make(recipe, tmp_path / "build", tmp_path / "work", lanes=2)
    return tmp_path / "work", tmp_path / "build"


@pytest.mark.parametrize("seed", range(8))
def test_what_a_resume_needs_is_never_removed(
    made: Any, builds: Any, steps: Any, tree: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Killed somewhere, within a step as often as between two, cleared up, gone on with: nothing is fetched twice."""
    recipe, out = made
    chance = random.Random(seed)
    work = tmp_path / "work"
    originals = {"add": SpoolSink.add, "commit": step_store.StepStore.commit, "pack": step_store.StepStore.pack}
    for _ in range(3):
        left = iter(range(chance.randrange(5, 90)))

        def call(step: Callable[[], Any], left: Any = left) -> Any:
            if next(left, None) is None:
                raise Killed
            return step()

        def killing(name: str, left: Any = left) -> Callable[..., Any]:
            return lambda *args, **named: call(lambda: originals[name](*args, **named), left)

        with monkeypatch.context() as patch:
            patch.setattr(SpoolSink, "add", killing("add"))
            patch.setattr(step_store.StepStore, "commit", killing("commit"))
            patch.setattr(step_store.StepStore, "pack", killing("pack"))
            with suppress(Killed, PairmillError):
                builds.make(recipe, tmp_path / "build", work, 2, lambda ready, call=call: steps(ready, call))
        collect(work)
        assert not collect(work).waste
    fetched = [pl.read_parquet(file)["row_id"].to_list() for file in (work / "columns").glob("fetch-*/**/*.parquet")]
    there = {row for rows in fetched for row in rows}
    asked: list[int] = []
    original = fetch_step.wanted_parts
    with monkeypatch.context() as patch:

        def watched(*which: Any) -> Any:
            for part in original(*which):
                asked.extend(part.block << 16 | want.row for want in part.wants)
                yield part

        patch.setattr(fetch_step, "wanted_parts", watched)
        builds.make(recipe, tmp_path / "build", work, 2)
    assert not there & set(asked)
    assert tree(tmp_path / "build" / "dataset") == tree(out / "dataset")
    assert tree(tmp_path / "build" / "ledger") == tree(out / "ledger")
    assert not collect(work).waste


def test_leftovers_are_found_and_the_rest_stays(copied: Any, made: Any, builds: Any, tree: Any) -> None:
    work, build = copied
    before = tree(work)
    (fetch,) = (work / "columns").glob("fetch-*")
    (work / "columns" / "text-0123456789abcdef").mkdir()
    (work / "columns" / "text-0123456789abcdef" / "a.parquet").write_bytes(bytes(7))
    (work / "log" / "text-0123456789abcdef").mkdir()
    (work / "log" / "text-0123456789abcdef" / "folded.parquet").write_bytes(bytes(3))
    (fetch / "0000000000").mkdir(exist_ok=True)
    (fetch / "0000000000" / "000000000000.p0.parquet.tmp-0123456789ab").write_bytes(bytes(5))
    tar = next((work / "spool").rglob("*.tar"))
    tar.with_name(tar.name.replace(".tar", "") + "0.tar").write_bytes(bytes(11))
    survey = survey_work(work)
    assert {found.what.partition(": ")[2] or found.what: (found.files, found.bytes) for found in survey.waste} == {
        "files that killed attempts left unfinished": (1, 5),
        "tars that no column file names": (1, 11),
        "columns that no known build uses": (2, 10),
    }
    assert survey.bytes == 26
    assert not survey.notes
    collect(work)
    assert tree(work) == before
    assert not (work / "columns" / "text-0123456789abcdef").exists()
    assert builds.make(made[0], build, work)["kept"] == 24


def test_what_packing_left_goes_and_what_was_published_without_a_line_stays(
    copied: Any, made: Any, builds: Any, tree: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe, _ = made
    monkeypatch.setattr(step_store, "PACK_BLOCKS", 2)
    work = tmp_path / "packed"
    with monkeypatch.context() as patch:
        unlink = Path.unlink
        keep_columns = lambda self, missing_ok=False: self.suffix == ".parquet" or unlink(self, missing_ok)  # noqa: E731
        patch.setattr(Path, "unlink", keep_columns)  # killed before the small files went
        builds.make(recipe, tmp_path / "one", work)
    survey = collect(work)
    assert any("packed into others" in what for what in told(survey))
    names = [path.name for path in (work / "columns").glob("fetch-*/**/*.parquet")]
    assert names
    assert all(name.startswith("pack-") for name in names)
    left = work / "columns" / next((work / "columns").glob("fetch-*")).name / "0000000001"
    left.mkdir()
    (left / f"{256:012x}.p0.parquet").write_bytes(b"published and not logged")
    assert not collect(work).waste
    builds.make(recipe, tmp_path / "two", work, seed="9")


def test_journals_stay_while_a_build_that_uses_them_is_not_finished(copied: Any) -> None:
    work, build = copied
    note = next((work / "builds").glob("*.json"))
    record = json.loads(note.read_text())
    record["stores"].append("words-0123456789abcdef")
    note.write_text(json.dumps(record))
    journal = work / "journal" / "words-0123456789abcdef" / "00" / "0.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}")
    (build / "dataset" / "manifest.json").rename(build / "manifest")
    assert not collect(work).waste
    (build / "manifest").rename(build / "dataset" / "manifest.json")
    assert told(collect(work)) == ["words-0123456789abcdef: answers that are committed"]
    assert not journal.exists()
    assert not (work / "journal").exists()


def test_stored_images_go_unless_an_unfinished_build_needs_them(
    copied: Any, made: Any, builds: Any, tree: Any, tmp_path: Path
) -> None:
    work, build = copied
    (build / "dataset" / "manifest.json").rename(build / "manifest")
    survey = collect(work, drop_spool=True)
    assert not survey.waste
    assert survey.notes[0].endswith(f"its images stay, {build} is not finished and needs them")
    (build / "manifest").rename(build / "dataset" / "manifest.json")
    assert told(collect(work, drop_spool=True))[0].endswith("stored images")
    assert not list((work / "spool").rglob("*.tar"))
    builds.make(made[0], tmp_path / "again", work)
    assert tree(tmp_path / "again" / "dataset")["dataset/README.md"] == tree(build / "dataset")["dataset/README.md"]
    assert tree(tmp_path / "again" / "ledger") == tree(build / "ledger")


def test_images_that_were_lost_are_fetched_again(
    copied: Any, made: Any, builds: Any, tree: Any, tmp_path: Path
) -> None:
    work, build = copied
    next((work / "spool").rglob("*.tar")).unlink()
    assert "parts whose tars are missing" in told(collect(work))[0]
    builds.make(made[0], tmp_path / "again", work)
    assert tree(tmp_path / "again" / "ledger") == tree(build / "ledger")
    assert not collect(work).waste


def test_a_build_that_is_gone_is_forgotten_and_the_shared_stores_stay(copied: Any, made: Any, builds: Any) -> None:
    work, build = copied
    builds.make(made[0], build.with_name("other"), work, seed="9")
    shutil.rmtree(build)
    (gone,) = told(collect(work))
    assert gone == f"the note of {build}, which is gone"
    assert not collect(work).waste
    shutil.rmtree(build.with_name("other"))
    survey = collect(work)
    assert survey.notes[0].startswith("no build is noted here")
    assert list((work / "spool").rglob("*.tar"))
    builds.make(made[0], build, work)


def test_only_the_builds_that_are_named_keep_their_stores(copied: Any, made: Any, builds: Any, tmp_path: Path) -> None:
    work, build = copied
    other = json.loads(next((work / "builds").glob("*.json")).read_text())
    store = "text-0123456789abcdef"
    (work / "columns" / store).mkdir()
    (work / "columns" / store / "a.parquet").write_bytes(bytes(7))
    (work / "builds" / "0.json").write_text(json.dumps({**other, "build": str(made[1]), "stores": [store]}))
    assert not survey_work(work).waste
    assert told(collect(work, keep=[build])) == [f"{store}: columns that no known build uses"]
    with pytest.raises(UsageError, match=r"--keep-builds .*: no such build is noted"):
        survey_work(work, keep=[tmp_path / "nowhere"])


def test_the_command_asks_before_it_removes(copied: Any, capsys: pytest.CaptureFixture[str]) -> None:
    work, _ = copied
    left = work / "log" / "some.tmp-0123456789ab"
    left.write_bytes(bytes(2000))
    assert main(["gc", str(work)]) == 0
    assert "2.0 KB would be freed; say --yes to remove them" in capsys.readouterr().out
    assert main(["gc", str(work), "--yes", "--dry-run"]) == 0
    assert left.exists()
    assert main(["gc", str(work), "--yes"]) == 0
    assert not left.exists()
    assert capsys.readouterr().out.endswith(f"{work}: 2.0 KB freed\n")
    assert main(["gc", str(work), "--yes"]) == 0
    assert capsys.readouterr().out == f"{work}: nothing to remove\n"
    with lock_folder(work, "the work folder"):
        assert main(["gc", str(work), "--yes"]) == 1
    assert f"the work folder {work} is in use by process {os.getpid()}" in capsys.readouterr().err
    assert main(["gc", str(work.parent), "--yes"]) == 2
    assert "is no work folder" in capsys.readouterr().err

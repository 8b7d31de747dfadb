"""``BUILD/report.html`` and ``pairmill report``: every reason, hostile rows, folders that are gone, equal bytes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.pipeline.page import build_page, build_rows
from pairmill.pipeline.page.build_page import PAGE_NAME, write_build_page
from pairmill.pipeline.page.funnel import reason_id
from pairmill.runners.cli import main
from pairmill.runners.report_command import page_of_run
from pairmill.sharding.pair import pair_uid

Make = Callable[..., Path]


@pytest.fixture
def make(small_pool: Any, builds: Any, tmp_path: Path) -> Make:
    """Makes a build of the small pool, or of another, in a folder of that name."""

    def build(name: str = "b", pool: Path | None = None, lanes: int = 1, **sections: Any) -> Path:
        if pool is not None:
            sections["pool"] = {"path": str(pool), "format": "files", "block_rows": 4}
        recipe = small_pool.recipe(tmp_path / f"{name}.yaml", **sections)
        builds.make(recipe, tmp_path / name, lanes=lanes)
        return tmp_path / name

    return build


@pytest.fixture
def page(read_page: Any) -> Callable[..., Any]:
    def read(build: Path, *options: Any) -> Any:
        return read_page(write_build_page(build, None, *options).read_bytes())

    return read


def sheets(told: Any) -> dict[str, Any]:
    """The list of tiles behind each heading of rejected rows, by the id of the heading."""
    children = list(told.section("rejected"))
    found = {}
    for at, each in enumerate(children):
        if each.tag == "h3":
            found[each.get("id")] = next(after for after in children[at:] if after.tag == "ul")
    return found


def captions(told: Any) -> list[str]:
    return ["".join(each.itertext()) for each in told.all("span") if "words" in str(each.get("class")).split()]


def images(of: Any) -> list[str]:
    return [each.get("alt") for each in of.iter("img")]


def test_every_reason_has_its_rows(make: Make, page: Any, small_pool: Any) -> None:
    build = make()
    told = page(build)
    assert told.names_of_sections() == ["funnel", "columns", "duplicates", "steps", "kept", "rejected", "recipe"]
    report = json.loads((build / "report.json").read_text())
    funnel = "".join(told.section("funnel").itertext())
    found = sheets(told)
    for stage, reasons in report["rejected_by_stage"].items():
        for reason, rows in reasons.items():
            assert f"{reason}{rows}" in funnel
            assert len(list(found[reason_id(stage, reason)].iter("li"))) == rows
    assert len(images(told.section("kept"))) == 24
    near = found["rejected-duplicates-near_duplicate"]
    assert images(near)[1] == "The picture that is kept instead"
    assert "a smaller copy" in "".join(near.itertext())
    assert len(images(found["rejected-rules-image_too_small"])) == 1
    assert "20 × 60 pixels" in "".join(found["rejected-rules-image_too_small"].itertext())
    assert not images(found["rejected-fetch-not_an_image"])
    assert "r-page.jpg" in "".join(found["rejected-fetch-not_an_image"].itertext())
    assert "pool:" in "".join(told.section("recipe").itertext())
    charts = [each.get("aria-label", "") for each in told.root.iter("{http://www.w3.org/2000/svg}svg")]
    assert any(chart.startswith("Width before resizing") and "kept: 24, median 96" in chart for chart in charts)
    assert any(chart.startswith("Rows in a group: 2 groups") for chart in charts)


def test_nothing_else_is_touched_and_the_page_is_the_same(
    make: Make, tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, other = make("one"), make("three", lanes=3)
    before = tree(build)
    pages = []
    for each in (build, build, other):
        report = json.loads((each / "report.json").read_text())
        report["seconds"] = 0.0
        for step in report["steps"]:
            step["seconds"] = 0.0
        (each / "report.json").write_text(json.dumps(report, indent=1))
        os.utime(each / "report.json", (10**9, 10**9))
        pages.append(write_build_page(each).read_bytes())
    assert pages[0] == pages[1] == pages[2]
    monkeypatch.setattr(build_rows, "READ_ROWS", 5)  # few blocks at a time
    assert write_build_page(build).read_bytes() == pages[0]
    after = tree(build)
    added = {name for name in after if name not in before}
    assert added == {f"one/{PAGE_NAME}"}
    assert all(after[name] == before[name] for name in before if name != "one/report.json")


def test_hostile_captions_and_names_stay_text(
    make: Make, page: Any, small_pool: Any, hostile: tuple[str, ...], tmp_path: Path
) -> None:
    pool = tmp_path / "hostile"
    pool.mkdir()
    for number, caption in enumerate(hostile):
        name = f"{number:02d} <b onclick=alert(1)>&'.jpg"
        shutil.copy(small_pool.folder / f"p{(1, 2, 4, 5, 7, 8, 10, 11, 13, 14)[number]:02d}.jpg", pool / name)
        (pool / name).with_suffix(".txt").write_bytes(caption.encode("utf-8", "replace"))
    build = make("h", pool, rules=[{"caption_phrases": {"contains": ["alert"]}}])
    told = page(build)  # asserts that no tag, no attribute and no link came of it
    words = captions(told)
    assert len(words) == len(hostile)
    assert "<script>alert(1)</script>" in words
    assert "{{ 7 * 7 }} ${7*7} %(x)s" in words
    assert "<b onclick=alert(1)>&'" in told.text


def test_where_nothing_was_kept(make: Make, page: Any) -> None:
    told = page(make(rules=[{"image_size": {"min_side": 5000}}]))
    assert "kept" not in told.names_of_sections()
    assert len(list(sheets(told)["rejected-rules-image_too_small"].iter("li"))) == build_page.REJECTED_SHOWN
    assert "0.00 %" in told.text


def test_where_all_was_kept_and_it_is_one_row(make: Make, page: Any, small_pool: Any, tmp_path: Path) -> None:
    pool = tmp_path / "one"
    pool.mkdir()
    for name in ("p01.jpg", "p01.txt"):
        shutil.copy(small_pool.folder / name, pool / name)
    told = page(make("o", pool))
    assert "rejected" not in told.names_of_sections()
    assert images(told.section("kept"))
    assert "1 of 1 samples" in told.text


def test_what_is_gone_is_left_out(make: Make, page: Any) -> None:
    build = make()
    shutil.rmtree(build / "work" / "spool")
    told = page(build)
    assert len(images(told.section("kept"))) == 24
    assert not images(told.section("rejected"))
    shutil.rmtree(build / "work")
    told = page(build)
    assert "image_too_small" in told.text
    assert not images(told.section("rejected"))
    shutil.rmtree(build / "dataset")
    told = page(build)
    assert told.names_of_sections() == ["funnel", "duplicates", "steps", "kept", "rejected"]
    assert "no caption" not in told.text
    assert "its pool is gone" in told.text


def test_pictures_that_a_list_forbids(make: Make, page: Any, small_pool: Any) -> None:
    import hashlib

    digest = hashlib.sha256((small_pool.folder / "p02.jpg").read_bytes()).hexdigest()
    build = make(rules=[{"blocklist": {"kind": "sha256", "values": [digest]}}, {"image_size": {"min_side": 32}}])
    place = "rejected-rules-sha256_blocked"
    told = page(build)
    assert not images(sheets(told)[place])
    assert "Pictures left out" in told.text
    assert images(sheets(told)["rejected-rules-image_too_small"])
    told = page(build, "all")
    (veiled,) = list(sheets(told)[place].iter("img"))
    assert veiled.get("class") == "veiled"
    assert [each.get("tabindex") for each in sheets(told)[place].iter("figure")] == ["0"]
    told = page(build, "none")
    assert not told.all("img")


def test_a_selection_has_a_page_too(small_pool: Any, builds: Any, tmp_path: Path, page: Any) -> None:
    recipe = small_pool.recipe(tmp_path / "s.yaml", rules=[{"caption_length": {"min_words": 3}}, "image_size"])
    builds.select(recipe, tmp_path / "s")
    told = page(tmp_path / "s")
    assert "left for a whole run" in told.text
    assert "caption_too_few_words" in "".join(told.section("rejected").itertext())
    assert "picture number" in "".join(told.section("kept").itertext())
    assert not told.all("img")


def test_what_the_pool_says_is_shown_where_nothing_was_measured(
    small_pool: Any, builds: Any, tmp_path: Path, page: Any
) -> None:
    pl.DataFrame(
        {
            "url": [f"http://pool.example/{i}.jpg" for i in range(40)],
            "caption": ["three words here"] * 40,
            "original_width": [100 + i for i in range(40)],
            "original_height": [100] * 40,
            "lang": ["de"] * 40,
            "similarity": [i / 40 for i in range(40)],
            "guard": [0.9] * 40,
        }
    ).write_parquet(tmp_path / "pool.parquet")
    recipe = small_pool.recipe(
        tmp_path / "s.yaml",
        pool={"path": str(tmp_path / "pool.parquet")},
        rules=[{"column_range": {"column": "similarity", "at_least": 0.5}}],
    )
    builds.select(recipe, tmp_path / "s")
    told = page(tmp_path / "s")
    charts = [each.get("aria-label", "") for each in told.root.iter("{http://www.w3.org/2000/svg}svg")]
    assert "Width before resizing, in pixels: kept: 20, median 129; rejected: 20, median 109" in charts
    assert "similarity: kept: 20, median 0.725; rejected: 20, median 0.225" in charts
    assert "Languages: 1 in 40 captions" in charts
    facts = ["".join(each.itertext()) for each in told.section("rejected").iter("small")]
    assert any(fact.startswith("similarity 0.") for fact in facts)


def test_it_is_written_before_the_pictures_go(small_pool: Any, tmp_path: Path, read_page: Any, page: Any) -> None:
    build = tmp_path / "b"
    recipe = small_pool.recipe(tmp_path / "r.yaml")
    assert main(["run", str(recipe), "--out", str(build), "--quiet", "--spool", "drop"]) == 0
    assert images(read_page((build / PAGE_NAME).read_bytes()).section("rejected"))
    told = page(build)
    assert not images(told.section("rejected"))
    assert "no longer in the work folder" not in told.text  # words alone stand where there is no picture
    assert len(images(told.section("kept"))) == 24
    again = tmp_path / "again"
    recipe = small_pool.recipe(tmp_path / "again.yaml", rules=[{"image_size": {"min_side": 70}}])
    assert main(["run", str(recipe), "--out", str(again), "--work", str(build / "work"), "--quiet"]) == 0
    told = read_page((again / PAGE_NAME).read_bytes())
    assert images(sheets(told)["rejected-rules-image_too_small"])  # fetched again


def test_what_was_taken_down_is_shown_no_more(make: Make, small_pool: Any, read_page: Any, tmp_path: Path) -> None:
    build = make()
    write_build_page(build)
    told = read_page((build / PAGE_NAME).read_bytes())
    assert "picture number 1" in captions(told)
    assert "the same bytes, take" in told.text
    uid = pair_uid("p01.jpg", "picture number 1")
    (tmp_path / "list.txt").write_text(f"{uid}\n")
    assert main(["remove", str(build), "--list", str(tmp_path / "list.txt"), "--kind", "uid"]) == 0
    told = read_page((build / PAGE_NAME).read_bytes())
    # The pair is gone from the dataset, and the row of the same bytes from the sheet of duplicates.
    assert "23 of 23 samples" in told.text
    assert "picture number 2" in captions(told)
    assert "picture number 1" not in captions(told)
    assert "the same bytes, take" not in told.text
    assert "taken down" in "".join(told.section("rejected").itertext())
    told = read_page(write_build_page(build, None, "all").read_bytes())
    assert not images(sheets(told)["rejected-duplicates-duplicate_sha256"])


def test_with_the_work_folder_in_a_store(small_pool: Any, tmp_path: Path, s3: Any, read_page: Any) -> None:
    build, recipe = tmp_path / "b", small_pool.recipe(tmp_path / "r.yaml")
    assert main(["run", str(recipe), "--out", str(build), "--work", f"{s3.new_url()}/work", "--quiet"]) == 0
    told = read_page((build / PAGE_NAME).read_bytes())
    assert images(sheets(told)["rejected-rules-image_too_small"])
    assert "too small" in captions(told)


def test_a_run_writes_it_and_goes_on_without_it(
    small_pool: Any, tmp_path: Path, read_page: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tmp_path / "b"
    run = ["run", str(small_pool.recipe(tmp_path / "r.yaml")), "--out", str(build)]
    assert main(run) == 0
    assert f"a page of this build: {build / PAGE_NAME}" in capsys.readouterr().out.replace("\n", "")
    first = (build / PAGE_NAME).read_bytes()
    read_page(first)
    os.utime(build / PAGE_NAME, (1, 1))
    assert main([*run, "--quiet"]) == 0  # a finished build is only told of
    assert (build / PAGE_NAME).stat().st_mtime == 1
    (build / PAGE_NAME).unlink()
    monkeypatch.setattr(build_page, "draw_ledger", lambda *_: 1 / 0)
    capsys.readouterr()
    page_of_run(build)
    told = capsys.readouterr()
    assert told.err == "pairmill: report.html was not written: division by zero; the dataset is whole\n"
    assert not told.out
    monkeypatch.undo()
    assert main(["report", str(build), "--out", str(tmp_path / "again.html"), "--samples", "1"]) == 0
    assert (tmp_path / "again.html").stat().st_size < len(first)


def test_wrong_use_is_one_line(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build = make()
    (tmp_path / "empty").mkdir()
    for options, told in (
        ([str(tmp_path / "empty")], "is no build folder"),
        ([str(build), "--samples", "-1"], "give 0 or more"),
        ([str(build), "--out", str(tmp_path / "no" / "p.html")], "cannot be written"),
    ):
        assert main(["report", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
    (build / "report.json").unlink()
    assert main(["report", str(build)]) == 2
    assert "is it finished?" in capsys.readouterr().err

"""``shard-stats --html``: hostile captions, damaged and empty sets, one sample, and the same page every time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pairmill.runners.shard_stats import main

Shards = Callable[..., Path]


@pytest.fixture
def page(tmp_path: Path, read_page: Any) -> Callable[..., Any]:
    def make(path: Path, *options: str, code: int = 0) -> Any:
        out = tmp_path / "page.html"
        assert main([str(path), "--html", str(out), *options]) == code
        return read_page(out.read_bytes())

    return make


def sample(picture: bytes, caption: str = "a red chair", **record: Any) -> dict[str, Any]:
    return {"jpg": picture, "txt": caption, "json": {"caption": caption, **record}}


def test_what_it_shows(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    picture = draw_picture(64, 48)
    shards = [[sample(picture, f"chair {shard} {i}", lang="en", similarity=0.31) for i in range(5)] for shard in (0, 1)]
    told = page(write_shards(shards), "--topology", "gpus=2")
    assert told.names_of_sections() == ["problems", "topology", "images", "samples", "shards"]
    figures = [["".join(each.itertext()) for each in pair] for pair in told.all("dl")[0]]
    assert figures[:3] == [["samples", "10"], ["shards", "2"], ["samples in a shard", "5"]]
    assert len(told.all("img")) == 10
    assert all(f"chair {shard} {i}" in told.text for shard in (0, 1) for i in range(5))
    assert "64 × 48 pixels" in told.text
    assert "similarity 0.31" in told.text
    assert "open_clip --dataset-resampled" in "".join(told.section("topology").itertext())
    charts = [each.get("aria-label", "") for each in told.root.iter("{http://www.w3.org/2000/svg}svg")]
    for title in ("Width in pixels", "Aspect", "Caption length", "Languages", "Samples in a shard", "Bytes of a shard"):
        assert any(chart.startswith(title) for chart in charts), title
    assert "None were found.Sums and indexes were not checked" in told.text


def test_hostile_captions_stay_text(
    write_shards: Shards, draw_picture: Any, page: Any, hostile: tuple[str, ...]
) -> None:
    picture = draw_picture(16, 16)
    folder = write_shards([[sample(picture, each, lang=each, **{each: 0.5}) for each in hostile]], "<b>&'\"")
    told = page(folder, code=0)  # read_page asserts that no tag, no attribute and no link came of it
    words = ["".join(each.itertext()) for each in told.all("span") if each.get("class") == "words"]
    assert len(words) == len(hostile)
    assert words[0] == "<script>alert(1)</script>"
    assert words[1] == '"><img src=x onerror=alert(1)>'
    assert words[4] == hostile[4]
    assert all(each.get("dir") == "auto" for each in told.all("span") if each.get("class") == "words")
    assert "<b>&'\"" in told.all("h1")[0].text


def test_hostile_names_of_members(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    bad = "jpg.<img src=x onerror=alert(1)>"
    folder = write_shards([[{"jpg": draw_picture(8, 8), bad: b"1", "txt": "a"}]])
    told = page(folder)
    assert "onerror=alert(1)" in "".join(told.section("shards").itertext())


def test_one_sample(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    told = page(write_shards([[sample(draw_picture(30, 20))]]))
    assert len(told.all("img")) == 1
    assert "1 of 1 samples" in told.text
    assert "30 everywhere" in told.text


def test_no_sample_at_all(write_shards: Shards, page: Any) -> None:
    told = page(write_shards([[]]), code=1)
    assert "holds no samples" in told.text
    assert told.names_of_sections() == ["problems"]
    assert not told.all("img")


def test_what_is_missing_is_not_shown(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    told = page(write_shards([[{"jpg": draw_picture(8, 8)}, {"txt": "words alone"}, {"jpg": b"no image", "txt": "b"}]]))
    assert len(told.all("img")) == 1
    assert "no caption" in told.text
    assert "no image" in told.text
    assert "does not decode" in told.text
    assert "Languages" not in told.text


def test_damage_is_told_and_the_rest_is_shown(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    folder = write_shards([[sample(draw_picture(40, 40), f"number {i}") for i in range(20)] for _ in range(2)])
    tar = folder / "00001.tar"
    os.truncate(tar, 10_000)
    told = page(folder, code=1)
    problems = "".join(told.section("problems").itertext())
    assert "1 fault" in problems
    assert "00001.tar: at byte" in problems
    assert 20 < len(told.all("img")) < 40


def test_pictures_called_unsafe_are_left_out(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    picture = draw_picture(8, 8)
    records: list[dict[str, Any]] = [{"NSFW": "NSFW"}, {"punsafe": 0.9}, {"NSFW": "UNLIKELY"}, {"punsafe": 0.1}, {}]
    told = page(write_shards([[sample(picture, **record) for record in records]]))
    assert len(told.all("img")) == 3
    assert told.text.count("its record says that it is unsafe") == 2


def test_scores_of_the_metadata(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    folder = write_shards([[sample(draw_picture(8, 8)) for _ in range(4)]])
    (folder / "metadata").mkdir()
    columns = {"caption": ["a"] * 4, "lang": ["en"] * 4, "<b>": [0.1, 0.2, None, float("nan")], "whole": [1, 2, 3, 4]}
    pl.DataFrame(columns).write_parquet(folder / "metadata" / "0.parquet")
    told = page(folder)
    scores = "".join(told.section("scores").itertext())
    assert "<b>" in scores
    assert "whole" not in scores
    assert "2" in [each.text for each in told.section("scores").iter("td")]


def test_a_large_set_is_sampled_evenly(write_shards: Shards, draw_picture: Any, page: Any) -> None:
    picture = draw_picture(8, 8)
    folder = write_shards([[sample(picture, f"{shard}-{i}") for i in range(10)] for shard in range(40)])
    told = page(folder, "--samples", "32")
    assert len(told.all("img")) == 32
    shards = {"".join(each.itertext()).split("-")[0] for each in told.all("span") if each.get("class") == "words"}
    assert len(shards) == 16
    assert min(map(int, shards)) < 5
    assert max(map(int, shards)) >= 35


def test_the_same_page_twice(write_shards: Shards, draw_picture: Any, page: Any, tmp_path: Path) -> None:
    folder = write_shards([[sample(draw_picture(20 + i, 30), "x" * i, lang="de") for i in range(9)]])
    page(folder, "--samples", "5")
    first = (tmp_path / "page.html").read_bytes()
    page(folder, "--samples", "5")
    assert (tmp_path / "page.html").read_bytes() == first


def test_neither_beam_nor_torch_is_loaded(write_shards: Shards, draw_picture: Any, tmp_path: Path) -> None:
    folder = write_shards([[sample(draw_picture(8, 8))]])
    code = (
        "import sys\nfrom pairmill.runners.shard_stats import main\n"
        f"main([{str(folder)!r}, '--html', {str(tmp_path / 'p.html')!r}])\n"
        "heavy = ('apache_beam', 'torch', 'cv2', 'aiohttp', 'pydantic')\n"
        "print(*[m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


def test_wrong_use_is_one_line(
    write_shards: Shards, draw_picture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_shards([[sample(draw_picture(8, 8))]])
    for options, told in (
        (["--html", str(tmp_path / "no" / "p.html")], "there is no such folder"),
        (["--html", str(tmp_path)], "cannot be written"),
        (["--html", str(tmp_path / "p.html"), "--samples", "-1"], "give 0 or more"),
        (["--html", str(tmp_path / "p.html"), "--bench"], "goes with neither --bench nor --index"),
    ):
        assert main([str(folder), *options]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert told in lines[0]
    assert not list(tmp_path.glob("*.html"))


def test_what_is_not_installed_is_named(
    write_shards: Shards, draw_picture: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = write_shards([[sample(draw_picture(8, 8))]])
    monkeypatch.setitem(sys.modules, "pygal", None)
    assert main([str(folder), "--html", str(tmp_path / "p.html")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'pairmill[pages]'" in line

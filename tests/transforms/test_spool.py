"""The spool of a block: the column file is the commit, and no tar stays that none names."""

from __future__ import annotations

import io
import os
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from pairmill.sharding.commit_log import CommitLog
from pairmill.sharding.errors import PairmillError
from pairmill.sharding.step_store import StepStore
from pairmill.sharding.tar import walk_tar
from pairmill.transforms import spool
from pairmill.transforms.fetch.outcome import FetchOutcome, Want
from pairmill.transforms.fetch.status import FetchStatus
from pairmill.transforms.fetch_columns import FETCH_COLUMNS
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import ImageFailure, StoredImage, store_image
from pairmill.transforms.spool import SpoolSink, fetch_counts, read_in_order, remove_orphans, spool_path

BLOCK = 0x0102_0304_0506


def picture(seed: int) -> StoredImage:
    file = io.BytesIO()
    Image.effect_noise((40 + seed, 30), 80).convert("RGB").save(file, "JPEG")
    stored = store_image(file.getvalue(), ImageSettings())
    assert isinstance(stored, StoredImage)
    return stored


def outcome(row: int, stored: object, status: FetchStatus = FetchStatus.OK) -> FetchOutcome:
    return FetchOutcome(Want(row), status, "why" if stored is None else "", attempts=1, seconds=0.5, stored=stored)


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    return StepStore(str(tmp_path), "fetch", "f" * 32, os.urandom(4).hex())


def tars(store: StepStore) -> list[str]:
    return sorted(path.name for path in store.spool_folder.rglob("*.tar"))


def test_outcomes_come_in_any_order_and_are_found_by_their_rows(store: StepStore) -> None:
    sink = SpoolSink(store, BLOCK, 0)
    images = {7: picture(1), 2: picture(2)}
    sink.add(7, outcome(7, images[7]))
    sink.add(3, outcome(3, None, FetchStatus.NOT_FOUND))
    sink.add(2, outcome(2, images[2]))
    sink.add(9, outcome(9, ImageFailure("undecodable", "torn")))
    sink.close()
    (commit,) = store.log.read()
    frame = store.read([commit])
    assert dict(frame.schema) == FETCH_COLUMNS
    assert frame["row_id"].to_list() == [BLOCK << 16 | row for row in (2, 3, 7, 9)]
    assert frame["status"].to_list() == ["ok", "not_found", "ok", "undecodable"]
    assert frame["status_detail"].to_list() == ["", "why", "", "torn"]
    for row in frame.filter(pl.col("status") == "ok").iter_rows(named=True):
        image = images[row["row_id"] & 0xFFFF]
        with spool_path(store, row["spool"]).open("rb") as file:
            file.seek(row["spool_offset"])
            assert file.read(row["stored_bytes"]) == image.data
        assert (row["sha256"], row["phash"], row["width"]) == (image.sha256, image.phash, image.width)
    rest = frame.filter(pl.col("status") != "ok").select("spool", "spool_offset", "sha256", "thumbnail")
    assert all(column.null_count() == rest.height for column in rest.get_columns())
    assert commit.counts == {"ok": 2, "not_found": 1, "undecodable": 1, "stored_bytes": sum(map(len, _data(images)))}
    assert fetch_counts(frame) == commit.counts
    (tar,) = store.spool_folder.rglob("*.tar")
    assert [member.name for member in walk_tar(tar)] == ["0007", "0002"]


def _data(images: dict[int, StoredImage]) -> list[bytes]:
    return [image.data for image in images.values()]


def test_a_part_without_an_image_has_no_tar(store: StepStore) -> None:
    sink = SpoolSink(store, BLOCK, 0)
    sink.add(1, outcome(1, None, FetchStatus.TIMEOUT))
    sink.close()
    assert tars(store) == []
    assert store.log.read()[0].rows == 1


def test_the_loser_of_two_attempts_removes_its_tar(store: StepStore) -> None:
    first, second = SpoolSink(store, BLOCK, 0), SpoolSink(store, BLOCK, 0)
    for sink, seed in ((first, 1), (second, 2)):
        sink.add(1, outcome(1, picture(seed)))
    second.close()
    first.close()
    (commit,) = CommitLog(store.log.folder).fold()
    (name,) = store.read([commit], ["spool"])["spool"]
    assert tars(store) == [Path(name).name]


def test_an_abort_leaves_nothing(store: StepStore) -> None:
    sink = SpoolSink(store, BLOCK, 0)
    sink.add(1, outcome(1, picture(1)))
    sink.abort()
    assert tars(store) == []
    assert store.log.read() == []


def test_tars_of_killed_attempts_go_and_all_others_stay(store: StepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(block: int, part: int = 0) -> SpoolSink:
        sink = SpoolSink(store, block, part)
        sink.add(1, outcome(1, picture(1)))
        return sink

    fill(1).close()
    fill(1, 1).close()
    kept = tars(store)
    left = [fill(1), fill(2), fill(2, 1)]  # killed: of a committed part, and of two that nobody committed
    published = fill(3)
    with monkeypatch.context() as patch:
        patch.setattr(CommitLog, "append", lambda self, commits: None)  # killed before the log had it
        published.close()
    kept = sorted({*kept, *(name for name in tars(store) if name.startswith(f"{3:012x}"))})
    assert len(tars(store)) == 6
    assert remove_orphans(store, store.log.read()) == 3
    assert tars(store) == kept
    assert remove_orphans(store, store.log.read()) == 0
    for sink in left:
        sink.abort()


def test_an_attempt_that_lives_on_commits_no_images_that_are_gone(store: StepStore) -> None:
    alive = SpoolSink(store, 5, 0)
    alive.add(1, outcome(1, picture(1)))
    assert remove_orphans(store, store.log.read()) == 1
    again = SpoolSink(store, 5, 1)  # the run that took it for dead
    again.add(1, outcome(1, picture(2)))
    alive.close()
    again.close()
    commits = sorted(CommitLog(store.log.folder).fold(), key=lambda commit: commit.part)
    rows = store.read(commits, ["row_id", "spool"])
    assert rows.height == 1
    assert tars(store) == [Path(rows["spool"][0]).name]


def test_one_that_publishes_while_it_is_taken_for_dead_keeps_its_images(
    store: StepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = SpoolSink(store, 5, 0)
    alive.add(1, outcome(1, picture(1)))
    is_file = Path.is_file

    def published_just_then(path: Path) -> bool:
        found = is_file(path)
        if path == store.column_path(5, 0) and not found:
            alive.close()
        return found

    monkeypatch.setattr(Path, "is_file", published_just_then)
    assert remove_orphans(store, []) == 0
    monkeypatch.undo()
    rows = store.read(CommitLog(store.log.folder).fold()[:1], ["spool"])
    assert tars(store) == [Path(rows["spool"][0]).name]


def test_a_step_that_never_ran_has_no_orphans(store: StepStore) -> None:
    assert remove_orphans(store, []) == 0


def test_images_are_read_in_any_order_with_few_open_files(store: StepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "OPEN_SPOOLS", 2)
    monkeypatch.setattr(spool, "ANNOUNCED_IMAGES", 3)
    places, bodies = [], {}
    for number in range(4):
        sink = SpoolSink(store, BLOCK + number, 0)
        for row in range(3):
            sink.add(row, outcome(row, picture(3 * number + row)))
        sink.close()
    for commit in store.log.read():
        for place in store.read([commit]).select("spool", "spool_offset", "stored_bytes").rows():
            places.append(place)
            bodies[place] = spool_path(store, place[0]).read_bytes()[place[1] : place[1] + place[2]]
    mixed = [places[number * 7 % len(places)] for number in range(2 * len(places))]
    before = len(os.listdir("/proc/self/fd"))
    found = []
    for image in read_in_order(store, mixed):
        found.append(image)
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert found == [bodies[place] for place in mixed]
    assert list(read_in_order(store, [])) == []
    unfinished = read_in_order(store, mixed)
    next(unfinished)
    unfinished.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_images_that_were_moved_are_read_as_well(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "lane.bin").write_bytes(b"onetwothree")
    name = "part/lane.bin"
    assert list(spool.read_moved(tmp_path, [(name, 6, 5), (name, 0, 3), (name, 3, 3)])) == [b"three", b"one", b"two"]
    for place in ((name, 9, 5), (name, -1, 3)):
        with pytest.raises(PairmillError, match=r"lane\.bin lacks an image: .* run the same command again"):
            list(spool.read_moved(tmp_path, [place]))

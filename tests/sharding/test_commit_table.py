"""Commits by block: objects or columns, the same answers."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.sharding import commit_log
from pairmill.sharding.commit_log import Commit, CommitLog
from pairmill.sharding.commit_table import by_block

PLACES = st.tuples(st.sampled_from([0, 1, 5, 1 << 47]), st.integers(0, 2))


@given(st.lists(st.lists(PLACES, max_size=6), max_size=4), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_objects_and_columns_agree(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[int, int]]], folded: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    wanted: dict[int, dict[int, Commit]] = defaultdict(dict)
    for number, places in enumerate(runs):
        log = CommitLog(folder)
        for block, part in places:
            rows = block % 97 + part  # whoever logs a part logs what was published
            commit = Commit(block, part, f"{block:012x}.p{part}.parquet", 0, rows, 0.5, {"ok": rows}, "d")
            log.append([commit])
            wanted[block][part] = commit
        if number <= folded:
            log.fold()
        log.close()
    table = CommitLog(folder).table()
    for most in (0, 1000):
        found = by_block(table, most)
        assert dict(found) == {block: [parts[part] for part in sorted(parts)] for block, parts in wanted.items()}
        assert sorted(found) == sorted(wanted)
        assert len(found) == len(wanted)
        assert 3 not in found
        assert found.get(3, []) == []
        with pytest.raises(KeyError):
            found[3]


def test_torn_lines_and_progress_are_passed_over_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_log, "BATCH", 2)
    log = CommitLog(tmp_path)
    log.append([Commit(block, 0, "a", block, 7) for block in range(5)])
    log.progress(3)
    log.close()
    with next(tmp_path.glob("*.jsonl")).open("a") as file:
        file.write('{"block": 9, "par')
    assert log.table().get_column("block").to_list() == [0, 1, 2, 3, 4]
    assert [commit.block for commit in log.read()] == [0, 1, 2, 3, 4]

"""What a person at a terminal sees of a run."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Build, Mill, Served


def run_at_terminal(command: list[str]) -> tuple[int, str]:
    """The exit code, and everything that was written to the terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other side is closed
        while read := os.read(ours, 1 << 16):
            shown += read
    os.close(ours)
    return process.wait(), shown.decode(errors="replace")


def test_a_bar_moves_and_the_funnel_ends_it(mill: Mill, fresh: Build, served: Served) -> None:
    served.delay_s = 0.4  # long enough for the bar to be seen
    code, shown = run_at_terminal(mill.command(fresh))
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "━" in plain
    assert "reading the pool" in plain
    counts = [int(done) for done in re.findall(r"fetching[^\r\n]*?(\d+)/120", plain)]
    assert len(set(counts)) > 1
    assert counts == sorted(counts)
    assert "pairs/s" in plain
    last = plain[plain.rindex("pairs kept") :]
    for word in ("near_duplicate", "not_found", "language_not_kept", "kept"):
        assert word in last
    assert "Traceback" not in plain


def test_quiet_is_quiet(mill: Mill, fresh: Build) -> None:
    assert run_at_terminal(mill.command(fresh, "--quiet")) == (0, "")

"""Workers that die early: what is told, and that nobody waits for them."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pairmill.runners.worker_processes import told_loss, watched_workers

if TYPE_CHECKING:
    from conftest import Build, Mill


@pytest.mark.parametrize(
    ("code", "words", "told"),
    [
        (-9, "", "was killed by SIGKILL (the system does so when memory runs out; fewer --workers need less); run the"),
        (-11, "", "was killed by SIGSEGV; run the same command again"),
        (3, "", "ended with exit code 3; run the same command again"),
        (1, "ModuleNotFoundError: No module named 'x'", "ended with exit code 1 (ModuleNotFoundError: No module"),
        (-9999, "", "ended with exit code -9999; run the same command again"),
    ],
)
def test_the_end_of_a_worker_in_one_line(code: int, words: str, told: str) -> None:
    line = told_loss(code, words)
    assert line.startswith(f"a worker process {told}")
    assert line.endswith("finished blocks are kept")
    assert "\n" not in line


def test_a_worker_that_cannot_start_ends_the_run_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    said = threading.excepthook
    stub = "import sys; sys.stdin.readline(); print('more'); print('no such wheel', file=sys.stderr); sys.exit(3)"

    def start() -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        return subprocess.Popen([sys.executable, "-c", stub], stdin=pipe, stderr=pipe, stdout=subprocess.DEVNULL)

    monkeypatch.setattr(logging.getLogger("apache_beam"), "level", logging.CRITICAL)
    options = PipelineOptions([], direct_num_workers=2, direct_running_mode="in_memory")
    runner = FnApiRunner(default_environment=SubprocessSDKEnvironment.from_command_string("unused"))
    with watched_workers([start(), start()]) as crew:
        with pytest.raises(RuntimeError), beam.Pipeline(runner=runner, options=options) as pipeline:
            _ = pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle() | beam.Map(print)
        assert crew.loss.startswith("a worker process ended with exit code 3 (no such wheel); run")
    assert threading.excepthook is said


def test_a_failing_run_ends_although_nobody_reads_its_complaints(mill: Mill, fresh: Build, tmp_path: Path) -> None:
    """Beam's workers print the tracebacks of a step before they answer; into a broken pipe they would never answer."""
    table = tmp_path / "clash.csv"
    table.write_text("uid,url,caption\n1,http://127.0.0.1:1/a,a dog\n1,http://127.0.0.1:1/b,a cat\n")
    recipe = tmp_path / "clash.yaml"
    recipe.write_text("pool: {path: clash.csv, block_rows: 1}\nlanguage: off\n")
    command = [*mill.command(fresh, recipe=recipe), "--workers", "2", "--pool", str(table)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) != 0
    assert not (fresh.out / "dataset" / "manifest.json").exists()

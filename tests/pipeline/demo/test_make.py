from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import polars as pl
import pytest

from pairmill.pipeline.demo.make import main


def test_tables_and_files_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--rows", "100", "--seed", "2", "--evaluation", "2"]
    assert main([*shared, "--as", "table", "--out", str(tmp_path / "table"), "--port", "8000"]) == 0
    assert "100 pairs in" in capsys.readouterr().out
    urls = pl.read_parquet(tmp_path / "table" / "pool.parquet")["url"]
    assert urls.str.starts_with("http://127.0.0.1:8000/").mean() > 0.9
    assert main([*shared, "--as", "files", "--out", str(tmp_path / "files")]) == 0
    assert len(list((tmp_path / "files" / "pairs" / "00000").iterdir())) > 190


def test_bad_arguments_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "5", "--as", "table", "--out", str(tmp_path)]) == 2
    assert "rows: 5 is too few" in capsys.readouterr().err
    assert main(["--rows", "100", "--evaluation", "0", "--as", "table", "--out", str(tmp_path / "x")]) == 0
    assert main(["--rows", "100", "--as", "table", "--out", str(tmp_path / "x")]) == 2
    assert "there is a pool at" in capsys.readouterr().err


def test_urls_are_served_until_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pairmill.pipeline.demo.make", "--rows", "100", "--evaluation", "1"]
    command += ["--out", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(line for line in server.stdout if line.startswith("serving")).split()[3]
            good = pl.read_parquet(tmp_path / "pool.parquet").filter(planted="")["url"]
            assert good.str.starts_with(address).all()
            with urllib.request.urlopen(good[0], timeout=10) as answer:
                assert answer.read(3) == b"\xff\xd8\xff"
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=20) == 130
        finally:
            server.kill()

"""Pillow's own collection of odd, broken and malicious files, each of them through the one function."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
from pathlib import Path
from pairmill.transforms.image.store import ImageFailure, ImageSettings, store_image
folder = Path(sys.argv[1])
outcomes = {}
for path in sorted(p for p in folder.rglob("*") if p.is_file()):
    outcome = store_image(path.read_bytes(), ImageSettings())
    failed = isinstance(outcome, ImageFailure)
    pair = (outcome.reason, outcome.detail) if failed else ("stored", outcome.source_format)
    outcomes[str(path.relative_to(folder))] = pair
# Not getrusage: its maximum is inherited from the process that started this one.
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"outcomes": outcomes, "peak": peak}))
"""

#: Files of accepted formats that the newest Pillow opens and that are refused here, with the reason.
STATED = {
    "16bit.s.tif": "unsupported_format",  # signed samples
    "lab.tif": "unsupported_format",
    "lab-green.tif": "unsupported_format",
    "lab-red.tif": "unsupported_format",
    # made to crash libtiff; whether they decode depends on its version
    "crash-0da013a13571cc8eb457a39fee8db18f8a3c7127.tif": "undecodable",
    "crash-74d2a78403a5a59db1fb0a2b8735ac068a75f6e3.tif": "undecodable",
}
ACCEPTED = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"}


@pytest.mark.real_data
def test_every_hostile_file_has_the_outcome_it_should(shared_data: Path) -> None:
    folder = shared_data / "hostile"
    command = [sys.executable, "-W", "always", "-c", PROGRAM, str(folder / "images")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    report = json.loads(ran.stdout)
    assert report["peak"] < 600_000  # KiB; the bombs among them would take gigabytes
    outcomes = report["outcomes"]
    assert len(outcomes) > 500
    for entry in json.loads((folder / "pillow_status.json").read_text()):
        path, status, file_format = entry["path"], entry["status"], entry["format"]
        outcome, detail = outcomes[path]
        if path in STATED:
            assert outcome in (STATED[path], "stored"), (path, detail)
        elif file_format in ACCEPTED and status == "ok":
            assert outcome == "stored", (path, outcome, detail)
        elif file_format in ACCEPTED:
            assert outcome == "undecodable", (path, outcome, detail)
        elif status.startswith("open:DecompressionBomb"):
            assert outcome in ("too_many_pixels", "unsupported_format"), (path, detail)
        else:
            assert outcome in ("unsupported_format", "not_an_image", "undecodable"), (path, outcome, detail)

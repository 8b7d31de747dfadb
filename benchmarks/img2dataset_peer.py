"""img2dataset in an environment of its own, because it pins libraries that pairmill has moved past."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from photo_pool import ROOT, PhotoPool

VERSION = "1.47.0"
#: No question to the network, at every start, whether its augmentation library has a newer version.
PEER_ENVIRONMENT = {"NO_ALBUMENTATIONS_UPDATE": "1"}
#: It imports ``imghdr``, which Python 3.13 has no more.
_PYTHONS = ("python3.11", "python3.12", "python3.10")


@dataclass(frozen=True)
class PeerSetup:
    """How many processes, and threads in each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} processes of {self.threads} threads"


def peer_python(folder: Path = ROOT / ".cache" / "img2dataset-venv") -> Path:
    """The Python of an environment with img2dataset in it; made on first use, with pip."""
    python = folder / "bin" / "python"
    wanted = f"import importlib.metadata as m; assert m.version('img2dataset') == '{VERSION}'; import img2dataset"
    if python.is_file() and not subprocess.run([python, "-c", wanted], check=False, capture_output=True).returncode:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    base = sys.executable if sys.version_info < (3, 13) else next(filter(None, map(shutil.which, _PYTHONS)), None)
    if base is None:
        raise SystemExit(f"img2dataset needs one of {', '.join(_PYTHONS)}; none is on this machine")
    print(f"making {folder} with img2dataset {VERSION}", flush=True)
    subprocess.run([base, "-m", "venv", folder], check=True)
    # Its dependencies still ask setuptools for pkg_resources.
    packages = [f"img2dataset=={VERSION}", "setuptools<81"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    subprocess.run([python, "-c", wanted], check=True)
    return python


def peer_command(
    python: Path, pool: PhotoPool, out: Path, setup: PeerSetup, options: dict[str, object], per_shard: int
) -> list[str]:
    """The command that downloads a pool; ``options`` on top of the defaults."""
    given: dict[str, object] = {
        "url_list": pool.table,
        "input_format": "parquet",
        "url_col": "url",
        "caption_col": "caption",
        "output_format": "webdataset",
        "output_folder": out,
        "processes_count": setup.processes,
        "thread_count": setup.threads,
        "number_sample_per_shard": per_shard,
        "enable_wandb": False,
        **options,
    }
    return [str(python.with_name("img2dataset")), *(f"--{name}={value}" for name, value in given.items())]


def peer_successes(out: Path) -> int:
    """What img2dataset says it downloaded and stored."""
    return sum(json.loads(path.read_text())["successes"] for path in out.glob("*_stats.json"))

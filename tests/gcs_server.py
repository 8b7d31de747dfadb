"""A server on loopback that speaks GCS's JSON API: fake-gcs-server, where it is on the PATH."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

BUCKET = "pairs"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class GcsServer:
    """A server with one bucket; ``environment`` is what a client needs to find it."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        return {"STORAGE_EMULATOR_HOST": self.endpoint, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def new_url(self) -> str:
        """A folder in the bucket that nobody has used."""
        return f"gs://{BUCKET}/{uuid.uuid4().hex[:12]}"


@contextmanager
def serve_gcs(folder: Path, port: int) -> Iterator[GcsServer]:
    """Run the server on a port of loopback with an empty bucket."""
    program = shutil.which("fake-gcs-server")
    if program is None or find_spec("gcsfs") is None:
        pytest.skip("needs gcsfs and fake-gcs-server (go install github.com/fsouza/fake-gcs-server@latest) on the PATH")
    (folder / BUCKET).mkdir(parents=True)
    where = ["-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}", "-data", str(folder)]
    process = subprocess.Popen(
        [program, "-scheme", "http", "-backend", "memory", *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = GcsServer(f"http://127.0.0.1:{port}")
    try:
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(f"{server.endpoint}/storage/v1/b", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()

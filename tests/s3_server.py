"""A real S3-speaking server on loopback: versitygw where there is one, else moto's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BUCKET = "pairs"
_KEY, _SECRET = "pairmill", "pairmill-secret"
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class S3Server:
    """A server with one bucket; ``environment`` is what a client needs to find it and be let in."""

    endpoint: str
    strict: bool  # whether it checks who asks

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def files(self) -> Any:
        """A file system of fsspec on it."""
        import s3fs

        return s3fs.S3FileSystem(
            endpoint_url=self.endpoint, key=_KEY, secret=_SECRET, use_listings_cache=False, skip_instance_cache=True
        )

    def new_url(self) -> str:
        """A folder in the bucket that nobody has used."""
        return f"s3://{BUCKET}/{uuid.uuid4().hex[:12]}"

    def copy_of(self, url: str, folder: Path) -> Path:
        """Every object below a URL, as files in a folder."""
        files, root = self.files(), url.removeprefix("s3://")
        for name in files.find(root):
            target = folder / name[len(root) + 1 :]
            target.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(name, str(target))
        return folder


def which_server() -> str | None:
    """The server that can be had here: versitygw, moto, or None."""
    asked = os.environ.get("PAIRMILL_S3_SERVER")
    found = {"versitygw": shutil.which("versitygw") is not None, "moto": find_spec("moto") is not None}
    return next((name for name, there in found.items() if there and asked in (None, name)), None)


@contextmanager
def serve_s3(folder: Path, port: int) -> Iterator[S3Server]:
    """Run the server on a port of loopback, keeping its objects in ``folder`` if it can, with an empty bucket."""
    kind = which_server()
    if kind is None or find_spec("s3fs") is None:
        pytest.skip("needs s3fs and an S3 server: pip install 'pairmill[dev]', or versitygw on the PATH")
    if kind == "versitygw":
        (folder / BUCKET).mkdir(parents=True)
        command = ["versitygw", "--port", f"127.0.0.1:{port}", "--access", _KEY, "--secret", _SECRET, "posix"]
        command.append(str(folder))
    else:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = S3Server(f"http://127.0.0.1:{port}", strict=kind == "versitygw")
    try:
        _wait_for(server.endpoint, process)
        if kind == "moto":
            server.files().mkdir(BUCKET)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers, if only with a refusal
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)

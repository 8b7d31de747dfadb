from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.sharding.publish import (
    FileSum,
    HashingWriter,
    publish_bytes,
    publishing,
    remove_temporaries,
    sum_file,
)


@given(st.lists(st.binary(max_size=40)), st.integers(1, 64))
def test_hashing_writer_passes_everything_on(chunks: list[bytes], buffer_bytes: int) -> None:
    below = io.BytesIO()
    writer = HashingWriter(below, buffer_bytes)
    for chunk in chunks:
        assert writer.write(chunk) == len(chunk)
    writer.flush()
    content = b"".join(chunks)
    assert below.getvalue() == content
    assert writer.bytes_written == len(content)
    assert writer.hexdigest() == hashlib.sha256(content).hexdigest()


def test_publish_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    written = publish_bytes(tmp_path / "sub" / "a.json", b"{}", tmp_path)
    assert written == FileSum("sub/a.json", 2, hashlib.sha256(b"{}").hexdigest())
    assert sum_file(tmp_path / "sub" / "a.json", tmp_path) == written
    assert FileSum.from_dict(written.to_dict()) == written


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    publish_bytes(tmp_path / "a", b"old")

    def fail_halfway() -> None:
        with publishing(tmp_path / "a") as writer:
            writer.write(b"half of the new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with publishing(tmp_path / "a") as one, publishing(tmp_path / "a") as two:
        one.write(b"same")
        two.write(b"same")
    assert (tmp_path / "a").read_bytes() == b"same"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: both fail in the middle of a write."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom pairmill.sharding.publish import publishing\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    with publishing(Path(sys.argv[1]) / 'a.tar') as writer:\n"
        "        writer.write(bytes(10_000))\n"
        "except OSError as error:\n"
        "    sys.exit(17)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 17
    assert list(tmp_path.iterdir()) == []


def test_remove_temporaries(tmp_path: Path) -> None:
    (tmp_path / "train-00000-of-00001.tar").write_bytes(b"1")
    (tmp_path / "train-00000-of-00001.tar.tmp-0123").write_bytes(b"2")
    assert remove_temporaries(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["train-00000-of-00001.tar"]

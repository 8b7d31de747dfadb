"""Reading what is on disk already, and nothing outside the pool's folder."""

from __future__ import annotations

import os

import pytest

from pairmill.transforms.fetch.local import read_local
from pairmill.transforms.fetch.outcome import Want


@pytest.fixture
def root(tmp_path):
    folder = (tmp_path / "pool").resolve()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"0123456789")
    (folder / "deep" / "er" / "b.jpg").write_bytes(b"b")
    (folder / "empty").touch()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "pool-secret").write_bytes(b"secret")
    (folder / "link_out").symlink_to(tmp_path / "secret")
    (folder / "folder_out").symlink_to(tmp_path)
    (folder / "link_in").symlink_to("deep/er/b.jpg")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("a.jpg", "ok", b"0123456789"),
        ("deep/er/../er/b.jpg", "ok", b"b"),
        ("link_in", "ok", b"b"),
        ("empty", "empty_body", None),
        ("none.jpg", "missing_file", None),
        ("a.jpg/x", "missing_file", None),
        ("a" * 5000, "missing_file", None),
        ("nul\0l", "missing_file", None),
        ("deep", "unreadable_file", None),
        ("", "unreadable_file", None),
        ("pipe", "unreadable_file", None),
        ("../secret", "refused_path", None),
        ("../pool-secret", "refused_path", None),
        ("deep/../../secret", "refused_path", None),
        ("link_out", "refused_path", None),
        ("folder_out/secret", "refused_path", None),
        ("/etc/passwd", "refused_path", None),
    ],
)
def test_paths(root, path, status, body):
    fetched = read_local(Want(0, path=path), root, 100)
    assert (fetched.status, fetched.body) == (status, body)


def test_a_link_that_points_at_itself(root):
    assert read_local(Want(0, path="loop"), root, 100).status in {"missing_file", "unreadable_file"}


def test_an_absolute_path_is_refused_even_inside(root):
    assert read_local(Want(0, path=str(root / "a.jpg")), root, 100).status == "refused_path"


@pytest.mark.parametrize(
    ("offset", "length", "status", "body"),
    [
        (2, 3, "ok", b"234"),
        (7, 3, "ok", b"789"),
        (7, 4, "missing_file", None),
        (11, 0, "missing_file", None),
        (0, -1, "missing_file", None),
        (-1, 2, "missing_file", None),
        (3, 0, "empty_body", None),
        (4, None, "ok", b"456789"),
    ],
)
def test_ranges(root, offset, length, status, body):
    fetched = read_local(Want(0, path="a.jpg", tar_offset=offset, tar_bytes=length), root, 100)
    assert (fetched.status, fetched.body) == (status, body)


def test_the_limit_counts_what_is_read_not_the_tar(root):
    assert read_local(Want(0, path="a.jpg"), root, 9).status == "too_large"
    assert read_local(Want(0, path="a.jpg", tar_offset=0, tar_bytes=9), root, 9).body == b"012345678"

"""Folders that a user names: a path, or the URL of a store; looked at before any work."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.mirror import cache_folder, open_place, settle, store_of
from pairmill.sharding.mirror_space import CACHE_VARIABLE
from pairmill.sharding.object_store import check_store, is_url


def place(told: str) -> Path | str:
    """An argument of the command line that may be a URL, which a Path would spoil."""
    return told if is_url(told) else Path(told)


def below(folder: Path | str, name: str) -> Path | str:
    """A folder in a place."""
    return f"{folder.rstrip('/')}/{name}" if isinstance(folder, str) else folder / name


def open_folder(told: Path | str) -> Path:
    """The folder by which this process knows a place. Raises UsageError for a URL that cannot be opened."""
    try:
        return open_place(told)
    except OSError as error:
        raise UsageError(
            f"the cache folder {cache_folder()}: {error.strerror}; name another one in {CACHE_VARIABLE}"
        ) from error


def open_to_write(told: Path | str) -> Path:
    """As ``open_folder``, and make sure that a store can be written to and keeps its promises.

    Raises UsageError, one line.
    """
    folder = open_folder(told)
    behind = store_of(folder)
    if behind is not None:
        check_store(behind[0])
    return folder


def note_error(build: str, text: str) -> None:
    """Leave the traceback of a run that failed in ``BUILD/error.txt``, where that can be written."""
    with suppress(OSError, PairmillError):
        folder = open_place(build)
        attempt = folder / "error.txt.tmp-driver"
        try:
            attempt.write_text(text, encoding="utf-8")
            settle(attempt, folder / "error.txt")
        finally:
            attempt.unlink(missing_ok=True)

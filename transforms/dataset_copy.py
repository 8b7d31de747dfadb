"""What copying a dataset from a store and to one have in common: files in parallel, tried again, counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from fsspec.core import url_to_fs

from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.publish import FileSum

CHUNK_BYTES = 4 << 20
#: What brings the package for a store.
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf"}


@dataclass(frozen=True)
class CopySettings:
    """How a dataset is copied.

    streams: files that are copied at a time. Object stores give some 50 to 100 MB/s for each.
    retries: how often a file is tried again after a fault of the store.
    backoff_s: seconds before the first of these, doubled each time.
    recheck: compare the sums of what already lies there under its name, in place of trusting name and size.
    """

    streams: int = 16
    retries: int = 4
    backoff_s: float = 0.5
    recheck: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.streams <= 256:
            raise ValueError(f"streams: {self.streams} cannot work; give 1 to 256")
        if not 0 <= self.retries <= 100:
            raise ValueError(f"retries: {self.retries} cannot work; give 0 to 100")
        if not 0 <= self.backoff_s <= 600:
            raise ValueError(f"backoff_s: {self.backoff_s} cannot work; give 0 to 600")


@dataclass(frozen=True)
class Copied:
    """What was done: files and bytes copied, those that were there already, and the seconds that it took."""

    copied_files: int
    copied_bytes: int
    present_files: int
    present_bytes: int
    seconds: float


class NotCopiedError(Exception):
    """A file was not copied, or not as the manifest tells: the store may do better the next time."""


class CopyCount:
    """Tells ``progress`` the bytes that are in place and all bytes; used by several threads."""

    def __init__(self, done: int, whole: int, progress: Callable[[int, int], None]) -> None:
        self._done, self._whole, self._progress = done, whole, progress
        self._lock = threading.Lock()
        progress(done, whole)

    def add(self, size: int) -> None:
        """So many bytes more, or fewer."""
        with self._lock:
            self._done += size
            self._progress(self._done, self._whole)


def copy_files(
    files: Sequence[FileSum], once: Callable[[FileSum, threading.Event], None], settings: CopySettings, place: str
) -> None:
    """Call ``once`` for every file, several at a time; ``place`` is where they lie, for messages.

    ``once`` raises NotCopiedError where another try may help, and stops when the event is set. Raises PairmillError
    when tries are used up, and what else ``once`` raises.
    """
    stop = threading.Event()

    def copy(file: FileSum) -> None:
        wait_s = settings.backoff_s
        for attempt in range(1, settings.retries + 2):
            try:
                once(file, stop)
                return
            except NotCopiedError as error:
                if stop.is_set() or attempt > settings.retries:
                    raise PairmillError(
                        f"{place}/{file.name}: {printable(str(error))} ({attempt} attempts); "
                        "run the same command again to go on"
                    ) from error
            stop.wait(wait_s)
            wait_s *= 2

    with ThreadPoolExecutor(settings.streams, thread_name_prefix="copy") as pool:
        # The largest first: a last large file would keep one stream busy while the others have nothing to do.
        tasks = [pool.submit(copy, file) for file in sorted(files, key=lambda file: -file.bytes)]
        try:
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            failed = [error for task in done if (error := task.exception()) is not None]
        except BaseException:  # an interrupt: what runs must not run on
            failed = [KeyboardInterrupt()]
            raise
        finally:
            if failed:
                stop.set()
                for task in tasks:
                    task.cancel()
    if failed:
        raise failed[0]


def open_store(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it; raises UsageError."""
    try:
        store, root = url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(url.split("://", maxsplit=1)[0])
        told = f"pip install 'pairmill[{extra}]'" if extra else "install the package that speaks it"
        raise UsageError(f"{url}: {error}; {told}") from error
    except ValueError as error:
        raise UsageError(f"{url}: {error}; a path or an fsspec URL such as s3://bucket/folder is needed") from error
    return store, str(root).rstrip("/")

"""The right to be the one run on a folder, across machines: a numbered file with its owner, written again and again.

A lock of the operating system ends at the machine, or lies on some mounts. So whoever wants a folder creates the next
number of ``pairmill.lease-NNNNNN.json`` exclusively (a link, or a conditional put), and holds the folder while his is
the highest and he writes to it. What was not written to for a while is stale, by the clock of the store itself.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.object_store import ObjectStore

PREFIX = "pairmill.lease-"
#: Between two writes of the holder.
BEAT_S = 10.0
#: A lease that was not written to for so long is stale.
STALE_S = 45.0


@dataclass(frozen=True)
class Owner:
    """A process, known among those of all machines. ``boot``: of its machine; ``started``: in the kernel's ticks."""

    pid: int
    host: str
    boot: str
    started: str
    token: str

    @classmethod
    def me(cls) -> Owner:
        """This process, under a token of its own."""
        return cls(os.getpid(), socket.gethostname(), _boot(), _started(os.getpid()), uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_dead(self) -> bool:
        """Whether this machine can tell that the process is gone; False for those of other machines."""
        return bool(self.boot) and self.boot == _boot() and _started(self.pid) != self.started


class LeasePlace(Protocol):
    """What a lease needs of a folder, or of a store."""

    def names(self) -> list[str]: ...  # noqa: D102
    def read(self, name: str) -> bytes | None: ...  # noqa: D102
    def create(self, name: str, data: bytes) -> bool: ...  # noqa: D102
    def write(self, name: str, data: bytes) -> None: ...  # noqa: D102
    def remove(self, name: str) -> None: ...  # noqa: D102
    def age_s(self, name: str) -> float: ...  # noqa: D102


class FolderPlace:
    """A folder on a local disk or a shared mount; ages are by the clock of who keeps it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """The leases that there are."""
        return [name for name in os.listdir(self._folder) if _number(name)]

    def read(self, name: str) -> bytes | None:
        """What stands in one, None where it is gone."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def create(self, name: str, data: bytes) -> bool:
        """Whether this call made it."""
        attempt = self._attempt(data)
        try:
            os.link(attempt, self._folder / name)
        except FileExistsError:
            return os.stat(attempt).st_nlink > 1
        finally:
            attempt.unlink(missing_ok=True)
        return True

    def write(self, name: str, data: bytes) -> None:
        """Put it anew, whole."""
        os.replace(self._attempt(data), self._folder / name)

    def remove(self, name: str) -> None:
        """Remove it where it is there."""
        (self._folder / name).unlink(missing_ok=True)

    def age_s(self, name: str) -> float:
        """Seconds since it was written; 0 where it is gone."""
        probe = self._attempt(b"")
        try:
            return os.stat(probe).st_mtime - os.stat(self._folder / name).st_mtime
        except FileNotFoundError:
            return 0.0
        finally:
            probe.unlink(missing_ok=True)

    def _attempt(self, data: bytes) -> Path:
        path = self._folder / f"{PREFIX}.tmp-{uuid.uuid4().hex[:12]}"
        path.write_bytes(data)
        return path


class StorePlace:
    """The objects of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def names(self) -> list[str]:
        """The leases that there are."""
        return [name for name in self._store.entries() if _number(name)]

    def read(self, name: str) -> bytes | None:
        """What stands in one, None where it is gone."""
        return self._store.bytes_of(name)

    def create(self, name: str, data: bytes) -> bool:
        """Whether this call made it."""
        return self._store.put_new_bytes(name, data)

    def write(self, name: str, data: bytes) -> None:
        """Put it anew."""
        self._store.put_bytes(name, data)

    def remove(self, name: str) -> None:
        """Remove it where it is there."""
        self._store.remove([name])

    def age_s(self, name: str) -> float:
        """Seconds since it was written; 0 where it is gone."""
        probe = f"pairmill-clock-{uuid.uuid4().hex[:12]}"
        self._store.put_bytes(probe, b"")
        try:
            return self._store.modified(probe) - self._store.modified(name)
        except FileNotFoundError:
            return 0.0
        finally:
            self._store.remove([probe])


class Lease:
    """One folder held; ``release`` it. ``lost`` is one line once somebody else has it, else empty."""

    def __init__(self, place: LeasePlace, name: str, owner: Owner, on_loss: Callable[[], None]) -> None:
        """Begin to keep what ``take_lease`` has created."""
        self._place, self._name, self._owner, self._on_loss = place, name, owner, on_loss
        self.lost = ""
        self._beats = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="pairmill-lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give the folder back."""
        self._ended.set()
        self._thread.join()
        if not self.lost:
            with suppress(PairmillError, OSError):  # it becomes stale by itself
                self._place.remove(self._name)

    def _keep(self) -> None:
        written = time.monotonic()
        while not self._ended.wait(BEAT_S):
            try:
                self._check()
                if not self.lost:
                    self._beats += 1
                    self._place.write(self._name, _told(self._owner, self._beats))
                    written = time.monotonic()
            except (PairmillError, OSError) as error:
                if time.monotonic() - written > STALE_S:
                    self.lost = f"the lease could not be renewed for {STALE_S:.0f} s ({error})"
            if self.lost:
                self._on_loss()
                return

    def _check(self) -> None:
        """Nobody has a higher number, and ours is still there."""
        mine = self._place.read(self._name)
        higher = [name for name in self._place.names() if name > self._name]
        if mine is None or higher or _owner(mine) != self._owner:
            other = _owner(self._place.read(max(higher))) if higher else _owner(mine)
            self.lost = f"{other or 'another run'} has taken it over, since this one was not heard of for a while"


def take_lease(
    place: LeasePlace, on_loss: Callable[[], None], on_takeover: Callable[[str], None], alone_on_host: bool = False
) -> Lease:
    """Hold a folder. Raises HeldError, which names the other one, where it is held.

    ``on_takeover`` is told of a stale lease, in one line. ``alone_on_host``: a lock of the operating system is held, so
    that no other process of this machine can be at work.
    """
    me = Owner.me()
    while True:
        names = sorted(place.names())
        for name in names[-1:]:
            other = _owner(place.read(name))
            if other is not None:
                age = place.age_s(name)
                known_gone = alone_on_host and other.boot == me.boot
                if not (known_gone or other.is_dead()) and age <= STALE_S:
                    raise HeldError(other, age)
                if not known_gone:
                    on_takeover(f"{other}, which was last heard of {age:.0f} s ago, is gone; this run takes its place")
        name = f"{PREFIX}{_number(names[-1]) + 1 if names else 1:06d}.json"
        if place.create(name, _told(me, 0)):
            for old in names:
                place.remove(old)
            return Lease(place, name, me, on_loss)


def holder(place: LeasePlace) -> Owner | None:
    """Who holds a folder now; None where nobody does, or he was not heard of for a while."""
    name = max(place.names(), default=None)
    owner = _owner(place.read(name)) if name is not None else None
    if name is None or owner is None or owner.is_dead():
        return None
    with suppress(PairmillError, OSError):  # who may not write cannot ask for the clock
        if place.age_s(name) > STALE_S:
            return None
    return owner


class HeldError(PairmillError):
    """Somebody else holds the folder; ``age_s`` is how long ago he said so."""

    def __init__(self, owner: Owner, age_s: float) -> None:
        super().__init__(f"{owner}, heard of {age_s:.0f} s ago")
        self.owner, self.age_s = owner, age_s


def is_lease(name: str) -> bool:
    """Whether a file in a folder is a lease, or what becomes one."""
    return name.startswith(PREFIX)


def _number(name: str) -> int:
    digits = name.removeprefix(PREFIX).removesuffix(".json")
    return int(digits) if name.startswith(PREFIX) and name.endswith(".json") and digits.isdecimal() else 0


def _told(owner: Owner, beats: int) -> bytes:
    return json.dumps({**asdict(owner), "beats": beats}).encode()


def _owner(data: bytes | None) -> Owner | None:
    try:
        told = json.loads(data or b"")
        return Owner(*(told[name] for name in ("pid", "host", "boot", "started", "token")))
    except (ValueError, KeyError, TypeError):
        return None


def _boot() -> str:
    """This machine since it was started, and in a container that container; empty where it cannot be told."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {socket.gethostname()}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process of this machine was started; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""

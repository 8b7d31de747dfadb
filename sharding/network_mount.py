"""Folders that other machines write to as well (NFS and the like), where a client may remember what has changed.

A client keeps names and attributes of a folder for seconds. It forgets them when it changes the folder itself: so a
file is made and removed there before names are looked at that another machine may just have given.
"""

from __future__ import annotations

import os
import time
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

#: Kinds of file systems behind which there is a network.
NETWORK_KINDS = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "gpfs", "beegfs", "beegfs_nodev", "glusterfs", "fuse.",
    "9p", "virtiofs", "afs", "orangefs", "wekafs", "efs",
)  # fmt: skip
#: A name that another machine has given is seen within this time, or it is not there.
SEEN_WITHIN_S = 40.0


def is_networked(folder: Path) -> bool:
    """Whether a folder lies on a file system that other machines may write to."""
    try:
        return _is_networked_device(os.stat(folder).st_dev)
    except OSError:
        return False


def refresh_folder(folder: Path) -> None:
    """Have the names in a folder looked up anew; nothing is done on a disk of this machine."""
    if is_networked(folder):
        probe = folder / f"pairmill-look.tmp-{uuid.uuid4().hex[:12]}"
        with suppress(OSError):
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.unlink(probe)


def wait_until_seen(path: Path) -> bool:
    """Whether a file is there that another machine may just have published; waits only on a networked folder."""
    if path.exists():
        return True
    if not is_networked(path.parent):
        return False
    until, pause = time.monotonic() + SEEN_WITHIN_S, 0.05
    while not path.exists():
        if time.monotonic() > until:
            return False
        refresh_folder(path.parent)
        time.sleep(pause)
        pause = min(2.0, pause * 2)
    return True


@lru_cache(maxsize=64)
def _is_networked_device(device: int) -> bool:
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split()
        if len(fields) > 6 and fields[2] == wanted and "-" in fields:
            kind = fields[fields.index("-") + 1]
            return any(kind == name or (name.endswith(".") and kind.startswith(name)) for name in NETWORK_KINDS)
    return False

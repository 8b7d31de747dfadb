"""Whether a file of weights is whole, found out from its header, without torch and without unpickling anything.

The bytes of the numbers are not judged: only a checksum tells whether they are the published ones.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import zipfile
from pathlib import Path

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MAX_HEADER_BYTES = 100_000_000  # as the library of safetensors has it
_TRUNCATED = "is truncated or damaged; copy it again"


def check_weight_file(path: Path) -> None:
    """Raise ValueError, saying what is wrong, where the file is empty, or of a known format and not whole.

    Known are ``.safetensors`` and torch's ``.pth`` and ``.pt``; of other files only the first bytes are looked at.
    """
    if path.suffix == ".safetensors":
        safetensors_names(path)
    elif path.suffix in (".pth", ".pt"):
        check_torch_file(path)
    else:
        _beginning(path)


def safetensors_names(path: Path) -> frozenset[str]:
    """The names of the tensors in a safetensors file. Raises ValueError where it is not whole, or holds none.

    Layout: eight bytes with the size of the header, the header as JSON, the numbers without gap to the end.
    """
    size = path.stat().st_size
    start = _beginning(path)
    header_size = struct.unpack("<Q", start[:8])[0] if len(start) >= 8 else size
    if header_size > min(size - 8, _MAX_HEADER_BYTES):
        raise ValueError(_TRUNCATED)
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(header_size).decode("utf-8"))
            header.pop("__metadata__", None)
            places = sorted(tuple(map(int, tensor["data_offsets"])) for tensor in header.values())
        except (ValueError, TypeError, AttributeError, KeyError, ArithmeticError, RecursionError):
            raise ValueError("is no safetensors file, or its header is damaged") from None
    if not places:
        raise ValueError("holds no tensors")
    end = 0
    for place in places:
        if len(place) != 2 or place[0] != end or place[1] < end:
            raise ValueError("has a damaged header: its tensors do not follow each other")
        end = place[1]
    if end != size - 8 - header_size:
        raise ValueError(_TRUNCATED)
    return frozenset(header)


def check_torch_file(path: Path) -> None:
    """Raise ValueError unless the file may be weights that ``torch.load(path, weights_only=True)`` can read.

    That function reads no others: whatever is pickled beside tensors and plain values is its error.
    """
    start = _beginning(path)
    if start[:2] == b"\x80\x02":  # as torch wrote before 1.6; there is nothing in it to check cheaply
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError, struct.error):
        raise ValueError(_TRUNCATED if start[:2] == b"PK" else "is no file of torch weights") from None
    if "constants.pkl" in names:
        raise ValueError("is TorchScript, which holds code; save the weights alone, by torch.save(m.state_dict(), …)")
    if "data.pkl" not in names:
        raise ValueError("is no file of torch weights")


def check_ctranslate2_file(path: Path) -> None:
    """Raise ValueError unless ``model.bin`` is a whole model that a CTranslate2 converter wrote.

    Layout: ``ctranslate2.specs.model_spec.ModelSpec``, binary versions 4 to 6.
    """
    _beginning(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            (version,) = struct.unpack_from("<I", data, 0)
            if not 4 <= version <= 6:
                raise ValueError("is no CTranslate2 model; convert it with ct2-transformers-converter")
            place = _after_string(data, 4) + 4
            (variables,) = struct.unpack_from("<I", data, place)
            place += 4
            for _ in range(variables):
                place = _after_string(data, place)
                place += 1 + 4 * data[place]  # the shape
                (size,) = struct.unpack_from("<I", data, place + 1)
                place += 5 + size
            (aliases,) = struct.unpack_from("<I", data, place)
            place += 4
            for _ in range(2 * aliases):
                place = _after_string(data, place)
        except (struct.error, IndexError):
            raise ValueError(_TRUNCATED) from None
        if place != len(data):
            raise ValueError(_TRUNCATED)


def _after_string(data: mmap.mmap, place: int) -> int:
    return place + 2 + int(struct.unpack_from("<H", data, place)[0])


def _beginning(path: Path) -> bytes:
    """The first bytes of a file that is more than nothing and more than a pointer to the real one."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise ValueError("is empty")
    if start.startswith(_LFS_POINTER):
        raise ValueError(f"is a pointer of {os.path.getsize(path)} bytes and not the weights; fetch them, git lfs pull")
    return start

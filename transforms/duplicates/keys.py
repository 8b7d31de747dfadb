"""Keys of 128 bits for texts: URLs, uids and checksums as packed arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def text_keys(texts: Iterable[str | None]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """A 128-bit digest (blake2b) of each text, as keys of shape (n, 2) and dtype uint64, and which texts are known.

    Equal texts have equal keys on every machine and in every version. Unequal ones share a key by chance only: in
    10 billion texts with a probability below 1e-18. A null is not known; its key is zero and means nothing.
    """
    digests, known = bytearray(), []
    for text in texts:
        known.append(text is not None)
        encoded = b"" if text is None else text.encode("utf-8", "surrogatepass")
        digests += bytes(16) if text is None else hashlib.blake2b(encoded, digest_size=16).digest()
    keys = np.frombuffer(bytes(digests), dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return keys, np.array(known, dtype=np.bool_)

"""The sizes of many JPEG images at once, from the headers of all of them, a segment of each at a time."""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from pairmill.sharding.image_header import NO_LENGTH, START_OF_FRAME

#: Ordinary files have their frame behind fewer segments.
_MOST_SEGMENTS = 64
_SEGMENT_BYTES = 9  # to the end of a frame's width
#: Images that are looked at together.
_AT_ONCE = 4096
_FRAME = np.isin(np.arange(256), sorted(START_OF_FRAME))
#: Markers of segments that are passed over by their length; the scalar way knows the others.
_PASSED = ~_FRAME & ~np.isin(np.arange(256), [0, *NO_LENGTH, 0xD8, 0xD9, 0xDA, 0xFF])


def jpeg_sizes(
    data: mmap.mmap | bytes, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Width and height in pixels as stored of the images at these offsets of ``data``, [images, 2].

    Zeros for what is no JPEG, or none as they mostly are: ask ``image_size`` about these.
    """
    content = np.frombuffer(data, dtype=np.uint8)
    found = np.zeros((len(starts), 2), dtype=np.int64)
    for first in range(0, len(starts), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        found[part] = _sizes(content, starts[part], starts[part] + sizes[part])
    return found


def _sizes(
    content: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    found = np.zeros((len(starts), 2), dtype=np.int64)
    alive = np.flatnonzero(ends - starts >= 2 + _SEGMENT_BYTES)
    alive = alive[(content[starts[alive]] == 0xFF) & (content[starts[alive] + 1] == 0xD8)]
    at = starts + 2
    span = np.arange(_SEGMENT_BYTES)
    for _ in range(_MOST_SEGMENTS):
        alive = alive[at[alive] + _SEGMENT_BYTES <= ends[alive]]
        if not len(alive):
            break
        segment = content[at[alive][:, None] + span].astype(np.int64)
        marked, marker = segment[:, 0] == 0xFF, segment[:, 1]
        frame = marked & _FRAME[marker]
        found[alive[frame], 0] = segment[frame, 7] << 8 | segment[frame, 8]
        found[alive[frame], 1] = segment[frame, 5] << 8 | segment[frame, 6]
        length = segment[:, 2] << 8 | segment[:, 3]
        passed = marked & _PASSED[marker] & (length >= 2)
        alive = alive[passed]
        at[alive] += 2 + length[passed]
    found[(found == 0).any(axis=1)] = 0
    return found

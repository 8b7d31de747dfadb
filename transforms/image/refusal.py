"""The reasons for which an image is not stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Reason = Literal[
    "empty_body",  # no bytes at all
    "not_an_image",  # HTML, text, JSON, video, unknown bytes
    "unsupported_format",  # a picture or document format outside the accepted list, or samples without a stated range
    "undecodable",  # truncated or corrupt
    "too_many_pixels",  # a decompression bomb by the header, or a stored image larger than its format can hold
    "too_small",  # a side below `min_side`
    "animated",  # an animation, where the settings reject them
]
REASONS: tuple[str, ...] = get_args(Reason)


@dataclass(frozen=True)
class ImageFailure:
    """Why an image was not stored: the reason, and one line for people. The detail is no part of any identity."""

    reason: Reason
    detail: str


class Refused(Exception):
    """Carries an ImageFailure out of the decoding functions."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.failure = ImageFailure(reason, " ".join(detail.split())[:200])

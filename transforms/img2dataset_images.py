"""What img2dataset's Resizer made, measured as if we had made it; and our settings in its words."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pairmill.transforms.fetch.outcome import StoreRefused
from pairmill.transforms.image.decode import decode
from pairmill.transforms.image.likeness import phash, thumbnail
from pairmill.transforms.image.refusal import Refused
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import StoredImage

if TYPE_CHECKING:
    from pairmill.transforms.fetch.img2dataset_engine import Resized


def resizer_arguments(settings: ImageSettings) -> dict[str, Any]:
    """The keyword arguments of img2dataset's Resizer for our settings; it re-encodes every image."""
    return {
        "image_size": settings.size,
        "resize_mode": settings.resize_mode,
        "resize_only_if_bigger": settings.only_if_bigger,
        "encode_format": settings.encode_format,
        "encode_quality": settings.quality,
    }


def measure_resized(resized: Resized, settings: ImageSettings) -> StoredImage:
    """The columns of an image that img2dataset stored; raises StoreRefused where its bytes do not decode.

    ``original_width`` and ``original_height`` are as img2dataset counts them: before any EXIF orientation, which it
    does not apply.
    """
    try:
        picture = decode(resized.data, settings)
        source = decode(resized.fetched, settings).source_format
    except Refused as refused:
        raise StoreRefused(refused.failure.reason, refused.failure.detail) from refused
    image = picture.image
    return StoredImage(
        data=resized.data,
        sha256=hashlib.sha256(resized.fetched).hexdigest(),
        fetched_bytes=len(resized.fetched),
        source_format=source,
        original_width=resized.original_width,
        original_height=resized.original_height,
        width=image.width,
        height=image.height,
        reencoded=True,
        phash=phash(image),
        thumbnail=thumbnail(image),
    )

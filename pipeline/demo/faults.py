"""What is planted in the example pools, and what a run must make of each: the one table of expected outcomes.

``EXPECTED`` is what the rules, the CLIP and the duplicates of the demo recipe do. ``WANTED`` is what a full recipe
should do, with copies found by their embeddings and registered evaluation sets, where that is something else. Two
reasons joined by "|" are both right: which of them it is depends on the machine.

What a CLIP expects of a caption (``BY_SIMILARITY``) holds for most rows of a kind and not for each: it misses some, and
loses a few good pairs. The demo shows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

#: The outcome of a pair that ends in the dataset.
KEPT = "kept"
#: The kind of a row in which nothing is planted.
GOOD = ""
#: The reason of the demo recipe's threshold on the CLIP score.
LOW_SIMILARITY = "clip_similarity_too_low"

#: Kind of fault → the reason that the ledger must give, or ``kept``.
EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        GOOD: KEPT,
        # servers that do not answer, or answer no
        "refused": "connection_error",
        "cut": "connection_error",
        "no_host": "unknown_host|dns_error",  # the second where no name service can be asked
        "status_404": "not_found",
        "status_410": "not_found",
        "status_403": "forbidden",
        "status_451": "forbidden",
        "status_400": "client_error",
        "status_500": "server_error",
        "status_429": "rate_limited",
        "stall": "timeout",
        "drip": "too_slow",
        "loop": "too_many_redirects",
        # addresses that nobody may ask
        "bad_url": "invalid_url",
        "bad_scheme": "refused_scheme",
        "private_address": "refused_address",
        # servers that fail once, or answer in a roundabout way
        "once_429": KEPT,
        "once_500": KEPT,
        "once_503": KEPT,
        "hops": KEPT,
        "percent_url": KEPT,
        "unicode_url": KEPT,
        "robots_nofollow": KEPT,
        # owners who opted out
        "robots_noai": "opted_out",
        "robots_noimageai": "opted_out",
        "robots_noindex": "opted_out",
        "robots_noimageindex": "opted_out",
        "robots_none": "opted_out",
        # bodies that are no picture
        "html": "not_an_image",
        "html_as_jpeg": "not_an_image",
        "garbage": "not_an_image",
        "empty": "empty_body",
        "truncated": "undecodable",
        "huge": "too_large",
        "endless": "too_large",
        # pictures of unusual make
        "exif": KEPT,
        "cmyk": KEPT,
        "alpha": KEPT,
        "png": KEPT,
        "webp": KEPT,
        "sixteen_bit": KEPT,
        "animated": KEPT,  # its first frame
        "heic": "unsupported_format",
        "bomb": "too_many_pixels",
        # pictures that a rule drops
        "one_pixel": "image_too_small",
        "tiny": "image_too_small",
        "small_photograph": "image_too_small",
        "strip": "image_too_elongated",
        # captions that a rule drops
        "null_caption": "no_caption",
        "blank_caption": "no_caption",
        "german": "language_not_kept",
        "french": "language_not_kept",
        "spanish": "language_not_kept",
        "file_name": "caption_too_few_words",
        "one_word": "caption_too_few_words",
        "short": "caption_too_few_chars",
        "newline": KEPT,
        # captions that only a look at the picture can tell from good ones
        "mismatched": LOW_SIMILARITY,  # of quite another picture
        "wrong_colour": LOW_SIMILARITY,  # true but for this
        "wrong_count": LOW_SIMILARITY,
        "wrong_object": LOW_SIMILARITY,
        "wrong_relation": LOW_SIMILARITY,
        "boilerplate": LOW_SIMILARITY,  # of a web page, on any picture
        # repeats; the first three are given to the row that loses (see `planting.settle`)
        "repeated_row": "duplicate_row",
        "repeated_url": "duplicate_url",
        "same_bytes": "duplicate_sha256",
        "resized": "near_duplicate",
        "recompressed": "near_duplicate",
        # copies that equal hashes do not find
        "mirrored": KEPT,  # unless a CLIP sees that its caption names a side
        "cropped": KEPT,
        "watermarked": KEPT,
        # pictures of an evaluation set
        "leaked": KEPT,
        "leaked_copy": KEPT,  # smaller than there
        # pictures that only look like repeats
        "recoloured": KEPT,
        "recounted": KEPT,
        "blank": KEPT,
    }
)

NEAR_DUPLICATE, CONTAMINATED = "near_duplicate", "contaminated"
#: Kinds that the CLIP of the demo can tell from good pairs, most of the time.
BY_SIMILARITY = tuple(kind for kind, expect in EXPECTED.items() if expect == LOW_SIMILARITY)

#: Kind of fault → what a full recipe should make of it, where that is not what is expected of the demo recipe.
WANTED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("mirrored", "cropped", "watermarked"), NEAR_DUPLICATE),
        **dict.fromkeys(("leaked", "leaked_copy"), CONTAMINATED),
    }
)

#: The ``X-Robots-Tag`` that each opted-out kind is served with.
OPT_OUT_TAGS = ("noai", "noimageai", "noindex", "noimageindex", "none")

#: Near copies: they contend with the picture that they were made of.
NEAR_COPIES = ("resized", "recompressed")

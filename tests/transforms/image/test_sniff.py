from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.transforms.image.refusal import REASONS, ImageFailure
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.sniff import ACCEPTED
from pairmill.transforms.image.store import StoredImage, store_image

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(64)
JXL = b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(64)

OUTCOMES = [
    (b"", "empty_body", "no bytes"),
    (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image", "HTML"),
    (b"\xef\xbb\xbf  \n<HTML lang=en>", "not_an_image", "HTML"),
    (b"<html><body><svg></svg></body></html>", "not_an_image", "HTML"),
    (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not_an_image", "markup"),
    (b'{"error": "not found"}', "not_an_image", "JSON"),
    (b"Not Found", "not_an_image", "text"),
    (b"BM is not always a bitmap, sometimes it is prose", "not_an_image", "text"),
    (b"  \r\n ", "not_an_image", "white space"),
    (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", "not_an_image", "unknown bytes 00 01 02 03 04 05 06 07"),
    (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42", "not_an_image", "ISO media file of brand b'mp42'"),
    (SVG, "unsupported_format", "SVG"),
    (HEIC, "unsupported_format", "HEIC"),
    (JXL, "unsupported_format", "JPEG XL"),
    (b"%PDF-1.7\n", "unsupported_format", "PDF"),
    (b"8BPS\x00\x01", "unsupported_format", "PSD"),
    (b"\x00\x00\x01\x00\x01\x00", "unsupported_format", "ICO"),
    (b"P6\n2 2\n255\n" + bytes(12), "unsupported_format", "PNM"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported_format", "PostScript"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "unsupported_format", "JPEG 2000"),
    (b"II*\x00\x10\x00\x00\x00CR\x02\x00", "unsupported_format", "camera raw (CR2)"),
    (b"\xff\xd8\xff", "undecodable", ""),
    (b"\x89PNG\r\n\x1a\n", "undecodable", ""),
    (b"GIF89a", "undecodable", ""),
    (b"RIFF\x04\x00\x00\x00WEBP", "undecodable", ""),
]


@pytest.mark.parametrize(("body", "reason", "detail"), OUTCOMES)
def test_what_is_no_picture_is_named(body: bytes, reason: str, detail: str) -> None:
    failure = store_image(body, ImageSettings())
    assert isinstance(failure, ImageFailure)
    assert failure.reason == reason
    assert failure.reason in REASONS
    assert detail in failure.detail


MAGICS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\x00", b"MM\x00*", b"BM"]


# The package silences these at import, but pytest sets its own filters for each test.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@given(st.sampled_from([*MAGICS, b"RIFF\x99\x00\x00\x00WEBP"]), st.binary(max_size=400))
def test_any_bytes_have_an_outcome(magic: bytes, rest: bytes) -> None:
    outcome = store_image(magic + rest, ImageSettings(max_pixels=1_000_000))
    if isinstance(outcome, ImageFailure):
        assert outcome.reason in REASONS
        assert outcome.detail
        assert "\n" not in outcome.detail
    else:
        assert isinstance(outcome, StoredImage)
        assert outcome.source_format in ACCEPTED

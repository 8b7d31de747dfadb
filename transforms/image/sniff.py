"""What the fetched bytes are, by their first bytes alone; a server's content type is not believed."""

from __future__ import annotations

from pairmill.transforms.image.refusal import Refused

#: What is decoded; Pillow's names. An MPO (several pictures after one another) counts as the JPEG it begins with.
ACCEPTED: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
#: Formats that are named in the verdict but not decoded: rare on the web, not shown by browsers, or dangerous to parse.
_NAMED: tuple[tuple[bytes, str], ...] = (
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"8BPS", "PSD"),
    (b"\x00\x00\x01\x00", "ICO"),
    (b"\x00\x00\x02\x00", "CUR"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"SIMPLE  =", "FITS"),
    (b"#?RADIANCE", "Radiance"),
    (b"\x8aMNG", "MNG"),
    (b"\x01\xda", "SGI"),
)
_BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}
_PNM = {b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7", b"Pf", b"PF"}


def sniff(body: bytes) -> str:
    """The accepted format that ``body`` claims to be; raises Refused for anything else."""
    for magic, name in _MAGIC:
        if body.startswith(magic):
            if name == "TIFF" and body[8:10] == b"CR":
                raise Refused("unsupported_format", "camera raw (CR2)")
            return name
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "WEBP"
    if body[:2] == b"BM" and int.from_bytes(body[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if body[4:8] == b"ftyp":
        return _iso_media(body)
    for magic, name in _NAMED:
        if body.startswith(magic):
            raise Refused("unsupported_format", name)
    if body[:2] in _PNM and body[2:3].isspace():
        raise Refused("unsupported_format", "PNM")
    raise _not_a_picture(body)


def _iso_media(body: bytes) -> str:
    """AVIF among the ISO media files; HEIC, which Pillow cannot decode, and video are refused by name."""
    length = min(int.from_bytes(body[:4], "big"), 256)
    brands = [body[8:12], *(body[at : at + 4] for at in range(16, length, 4))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    if _HEIF_BRANDS.intersection(brands):
        raise Refused("unsupported_format", "HEIC")
    raise Refused("not_an_image", f"ISO media file of brand {brands[0]!r}")


def _not_a_picture(body: bytes) -> Refused:
    head = body[:4096]
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Refused("not_an_image", "text (UTF-16)")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    lower = text.lower()
    if b"<svg" in text and text.startswith(b"<") and not lower.startswith((b"<!doctype html", b"<html")):
        return Refused("unsupported_format", "SVG")
    if text.startswith(b"<"):
        what = "HTML" if b"<html" in lower or b"<!doctype" in lower else "markup"
    elif text.startswith((b"{", b"[")):
        what = "JSON"
    elif not any(byte < 9 or 13 < byte < 32 for byte in head[:512]):
        what = "text" if text else "white space"
    else:
        what = f"unknown bytes {head[:8].hex(' ')}"
    return Refused("not_an_image", what)

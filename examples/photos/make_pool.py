"""Makes a pool of 1,580 URLs out of 1,239 real photographs, with the faults of the real web planted among them.

    python make_pool.py --data DATA --out FOLDER --port 8765

``DATA`` is the folder of real data (``photos``, ``clothing``, ``parallel_captions``). ``FOLDER/pool.parquet`` has url,
caption, source, license, and the truth: what is planted in each row and what must become of it. ``FOLDER/www`` is
what ``serve.py`` serves. The same data, port and seed give the same pool.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import altered
import numpy as np
from photographs import Photograph, german_captions, read_photographs
from PIL import Image

from pairmill.pipeline.demo.faults import OPT_OUT_TAGS
from pairmill.pipeline.demo.identify import is_english
from pairmill.pipeline.demo.likeness import DIFFERENT_ABOVE, hash_distance, is_safe_copy, thumbnail_distance
from pairmill.pipeline.demo.pairs import REFUSING_HOST
from pairmill.pipeline.demo.planting import Draft, settle
from pairmill.pipeline.demo.server import HTML_PAGE

POOL_FILE = "pool.parquet"

#: Photographs that are in the pool in this form only: kind → how many.
IN_PLACE: Mapping[str, int] = MappingProxyType(
    {
        "exif": 14,
        "cmyk": 4,
        "alpha": 3,
        "png": 4,
        "webp": 4,
        "sixteen_bit": 3,
        "animated": 3,
        "percent_url": 2,
        "unicode_url": 2,
        "once_429": 6,
        "once_500": 4,
        "once_503": 2,
        "hops": 4,
        "robots_nofollow": 3,
        "newline": 3,
    }
)
#: Rows beside those of the photographs: kind → how many.
BESIDE: Mapping[str, int] = MappingProxyType(
    {
        "repeated_row": 10,
        "repeated_url": 40,
        "same_bytes": 40,
        "resized": 40,
        "recompressed": 40,
        "mirrored": 6,
        "recoloured": 6,
        "status_404": 14,
        "status_410": 4,
        "status_403": 6,
        "status_451": 1,
        "status_400": 2,
        "status_500": 2,
        "status_429": 2,
        "refused": 5,
        "no_host": 4,
        "stall": 2,
        "drip": 3,
        "cut": 2,
        "loop": 2,
        "bad_url": 4,
        "bad_scheme": 3,
        "private_address": 3,
        **{f"robots_{tag}": 3 for tag in OPT_OUT_TAGS},
        "html": 8,
        "html_as_jpeg": 4,
        "garbage": 3,
        "heic": 1,
        "bomb": 1,
        "empty": 3,
        "truncated": 10,
        "huge": 2,
        "endless": 1,
        "one_pixel": 6,
        "tiny": 5,
        "strip": 5,
        "null_caption": 8,
        "blank_caption": 3,
        "german": 12,
        "one_word": 9,
        "short": 4,
    }
)

_WEB_FAULTS = {
    **{kind: f"/odd/{kind}" for kind in ("stall", "drip", "cut", "loop", "html", "endless")},
    **{f"status_{code}": f"/odd/status/{code}" for code in (400, 403, 410, 429, 451, 500)},
    **{f"once_{code}": f"/odd/once/{code}" for code in (429, 500, 503)},
    **{f"robots_{tag}": f"/odd/robots/{tag}" for tag in (*OPT_OUT_TAGS, "nofollow")},
    "status_404": "/gone",
    "hops": "/odd/hops/3",
    "same_bytes": "/mirror",
    "refused": REFUSING_HOST,
    "no_host": "http://nosuchhost.invalid",
}
_ADDRESSES = {
    "bad_url": ("not a url", "http:///no-host.jpg", "www.example.invalid/photo.jpg", "http://[::1/broken.jpg"),
    "bad_scheme": ("ftp://127.0.0.1/photo.jpg", "data:image/gif;base64,R0lGODlhAQABAAAAACw=", "file:///photo.jpg"),
    "private_address": (
        "http://10.0.0.1/a.jpg",
        "http://169.254.169.254/latest/a.jpg",
        "http://192.168.0.10:8080/a.jpg",
    ),
}
_CAPTIONS: dict[str, tuple[str | None, ...]] = {
    "null_caption": (None,),
    "blank_caption": ("", " ", "\n"),
    "one_word": ("sunset", "untitled", "beautiful", "photograph", "handmade"),
    "short": ("a b c", "a b x", "a i x"),
}
_REPEATS = ("repeated_row", "repeated_url", "same_bytes")
_LOOKALIKES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "recoloured": altered.recoloured,
}


def make_pool(folder: Path, data: Path, base_url: str, seed: int = 0) -> Path:
    """Writes ``folder/www`` and ``folder/pool.parquet``, whose path is returned.

    ``base_url`` is where ``serve(folder)`` will answer. Columns are those of ``planting.POOL_SCHEMA``. Raises
    FileExistsError when ``folder`` holds a pool already, FileNotFoundError when ``data`` lacks the real data.
    """
    photographs = read_photographs(data, seed)
    www = folder / "www"
    (www / "planted").mkdir(parents=True)
    (www / "mirror").mkdir()
    for place, images in (("photos", data / "photos" / "images"), ("clothing", data / "clothing" / "images")):
        (www / place).symlink_to(images.resolve())
        (www / "mirror" / place).symlink_to(images.resolve())
    maker = _Maker(www, data, photographs, seed)
    drafts = maker.drafts()
    order = np.random.default_rng((seed, 1)).permutation(len(drafts))
    path = folder / POOL_FILE
    settle([drafts[i] for i in order], base_url).write_parquet(path)
    return path


class _Maker:
    """Plants every kind; photographs that are used up in one form are not copied in another."""

    def __init__(self, www: Path, data: Path, photographs: list[Photograph], seed: int) -> None:
        self._www = www
        self._german = tuple(german_captions(data, BESIDE["german"]))
        self._seed = seed
        small = [photo for photo in photographs if min(photo.width, photo.height) < 200]
        sound = [photo for photo in photographs if min(photo.width, photo.height) >= 200]
        used = sum(IN_PLACE.values())
        self._small, self._altered, self._plain = small, sound[:used], sound[used:]

    def drafts(self) -> list[Draft]:
        """The rows of the pool, not yet in pool order."""
        rows = [photo.draft("small_photograph") for photo in self._small] + [photo.draft() for photo in self._plain]
        altered_photos = iter(self._altered)
        for kind, count in IN_PLACE.items():
            rows += [self._in_place(next(altered_photos), kind, number) for number in range(count)]
        for stream, (kind, count) in enumerate(BESIDE.items()):
            some = self._in_turn(stream)
            rows += [self._beside(some, kind, number) for number in range(count)]
        return rows

    def _in_turn(self, stream: int) -> Iterator[Photograph]:
        """The photographs that stay as they are, each once, in an order of this stream's own."""
        rng = np.random.default_rng((self._seed, 2, stream))
        return iter([self._plain[i] for i in rng.permutation(len(self._plain))])

    def _in_place(self, photo: Photograph, kind: str, number: int) -> Draft:
        row = photo.draft(kind)
        if kind in _WEB_FAULTS:
            return replace(row, url=_WEB_FAULTS[kind] + photo.url)
        if kind == "newline":
            lines = (f"{first}\n{last}" for first in photo.captions for last in photo.captions if first != last)
            return replace(row, caption=next(text for text in lines if is_english(text)))
        if kind in ("percent_url", "unicode_url"):
            name = f"a photo+{number}.jpg" if kind == "percent_url" else f"straße-写真-{number}.jpg"
            url = self._write(name, photo.file.read_bytes())
            return replace(row, url=quote(url) if kind == "percent_url" else url)
        body, ending = _in_another_make(photo, kind, number)
        return replace(row, url=self._write(f"{kind}-{number}.{ending}", body), size=len(body))

    def _beside(self, some: Iterator[Photograph], kind: str, number: int) -> Draft:
        photo = next(some)
        if kind in ("resized", "recompressed"):
            return self._copy(photo, some, kind, number)
        if kind in _LOOKALIKES:
            return self._lookalike(photo, some, kind, number)
        row = photo.draft(kind, caption=1)
        if kind in _REPEATS:
            # What repeats is told by `settle`, which knows the row that loses.
            caption = photo.captions[0 if kind == "repeated_row" else 1]
            return replace(row, url=_WEB_FAULTS.get(kind, "") + photo.url, planted="", caption=caption)
        if kind == "german" or kind in _CAPTIONS:
            captions = self._german if kind == "german" else _CAPTIONS[kind]
            return replace(row, caption=captions[number % len(captions)])
        return replace(row, url=self._bad_url(photo, kind, number))

    def _bad_url(self, photo: Photograph, kind: str, number: int) -> str:
        if kind in _WEB_FAULTS:
            return _WEB_FAULTS[kind] + photo.url
        if kind in _ADDRESSES:
            return _ADDRESSES[kind][number]
        body, ending = _broken(photo, kind, number)
        return self._write(f"{kind}-{number}.{ending}", body)

    def _copy(self, photo: Photograph, some: Iterator[Photograph], kind: str, number: int) -> Draft:
        """A worse copy of a photograph, certain to be seen as one: of the first photograph where it is."""
        for candidate in itertools.chain([photo], some):
            original = candidate.open()
            copy = altered.resized(original, number) if kind == "resized" else original
            body = altered.jpeg_copy(copy, number)
            sound = min(copy.size) >= 200 and len(body) < candidate.file.stat().st_size
            if sound and is_safe_copy(candidate.file.read_bytes(), body):
                url = self._write(f"{kind}-{number}.jpg", body)
                row = replace(candidate.draft(kind, caption=2), url=url, content=url, size=len(body))
                return replace(row, width=copy.width, height=copy.height)
        raise RuntimeError(f"no photograph has a safe copy for {kind} {number}")

    def _lookalike(self, photo: Photograph, some: Iterator[Photograph], kind: str, number: int) -> Draft:
        """Another picture that a careless comparison takes for the photograph."""
        for candidate in itertools.chain([photo], some):
            original = candidate.open()
            other = _LOOKALIKES[kind](original)
            apart = thumbnail_distance(original, other)
            bits = hash_distance(original, other)
            if (apart > DIFFERENT_ABOVE and bits <= 2) if kind == "recoloured" else bits >= 16:
                body = altered.jpeg_copy(other, number)
                url = self._write(f"{kind}-{number}.jpg", body)
                return replace(candidate.draft(kind, caption=2), url=url, content=url, look="", size=len(body))
        raise RuntimeError(f"no photograph has a lookalike for {kind} {number}")

    def _write(self, name: str, body: bytes) -> str:
        (self._www / "planted" / name).write_bytes(body)
        return f"/planted/{name}"


def _in_another_make(photo: Photograph, kind: str, number: int) -> tuple[bytes, str]:
    picture = photo.open()
    if kind in ("png", "webp"):
        buffer = io.BytesIO()
        picture.save(buffer, kind.upper())
        return buffer.getvalue(), kind
    makers: dict[str, tuple[Callable[[], bytes], str]] = {
        "exif": (lambda: altered.turned(picture, number), "jpg"),
        "cmyk": (lambda: altered.cmyk(picture), "jpg"),
        "alpha": (lambda: altered.with_alpha(picture), "png"),
        "sixteen_bit": (lambda: altered.sixteen_bit(picture), "png"),
        "animated": (lambda: altered.animated(picture), "gif"),
    }
    make, ending = makers[kind]
    return make(), ending


def _broken(photo: Photograph, kind: str, number: int) -> tuple[bytes, str]:
    original = photo.file.read_bytes()
    makers: dict[str, Callable[[], bytes]] = {
        "truncated": lambda: altered.truncated(original, number),
        "huge": lambda: altered.huge(original),
        "html_as_jpeg": lambda: HTML_PAGE,
        "garbage": lambda: b"\x01\x02" + np.random.default_rng(number).bytes(4096),
        "empty": lambda: b"",
        "heic": altered.heic,
        "bomb": altered.bomb,
        "one_pixel": lambda: altered.jpeg_copy(photo.open().resize((1, 1)), number),
        "tiny": lambda: altered.jpeg_copy(photo.open().resize((96, 100)), number),
        "strip": lambda: altered.jpeg_copy(altered.strip(photo.open(), number), number),
    }
    return makers[kind](), "png" if kind == "bomb" else "jpg"


def main() -> None:
    """Write the pool for a server on a fixed port."""
    parser = argparse.ArgumentParser(description="Make a pool of URLs from real photographs, with planted faults.")
    parser.add_argument("--data", type=Path, required=True, help="the folder of real data")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write, which must not hold a pool yet")
    parser.add_argument("--port", type=int, default=8765, help="the port that serve.py will listen on")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        path = make_pool(arguments.out, arguments.data, f"http://127.0.0.1:{arguments.port}", arguments.seed)
    except (FileExistsError, FileNotFoundError) as error:
        raise SystemExit(f"make_pool.py: {error}") from None
    print(f"wrote {path}; now: python {Path(__file__).with_name('serve.py')} {arguments.out} --port {arguments.port}")


if __name__ == "__main__":
    main()

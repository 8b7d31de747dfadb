"""Found pairs in a folder: their images as they are stored, and one page that shows them."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairmill.sharding.errors import UsageError
from pairmill.sharding.lookup import read_image
from pairmill.sharding.nearest import Place

PAGE_NAME = "index.html"

_STYLE = """body{font:14px/1.4 sans-serif;margin:2em;background:#fff;color:#222}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:1.2em}
figure{margin:0}img{width:100%;height:200px;object-fit:contain;background:#eee}
figcaption{overflow-wrap:anywhere}small{color:#666}"""


def save_pairs(folder: Path, dataset: Path, image_ext: str, pairs: Sequence[dict[str, Any]], query: str) -> None:
    """Write each pair's image as ``RANK-KEY.EXT``, ``pairs.json``, and a page ``index.html`` that shows them in order.

    Images are read out of the shards by their places. Raises PairmillError for a damaged shard, UsageError when the
    folder cannot be written.
    """
    images = [read_image(dataset, Place(pair["shard"], pair["index"]), pair["key"], image_ext) for pair in pairs]
    names = [f"{pair['rank']:03}-{pair['key']}.{image_ext}" for pair in pairs]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, image in zip(names, images, strict=True):
            (folder / name).write_bytes(image)
        (folder / "pairs.json").write_text(json.dumps(pairs, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / PAGE_NAME).write_text(_page(query, names, pairs), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--save {folder}: {error.strerror}") from error


def _page(query: str, names: Sequence[str], pairs: Sequence[dict[str, Any]]) -> str:
    """One self-contained page beside its images; all text in it is escaped, since captions are anyone's."""
    title = html.escape(query)
    figures = []
    for name, pair in zip(names, pairs, strict=True):
        image, key, shard, caption, where = (
            html.escape(text or "")
            for text in (name, pair["key"], pair["shard"], pair.get("caption"), pair.get("url") or pair.get("path"))
        )
        figures.append(
            f'<figure><img src="{image}" alt="" loading="lazy"><figcaption>{pair["similarity"]:.4f} {caption}'
            f"<br><small>{key} · {shard}<br>{where}</small></figcaption></figure>"
        )
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1>\n<main>\n" + "\n".join(figures) + "\n</main></body></html>\n"
    )

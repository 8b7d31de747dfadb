"""Interleaved documents (texts and images in turn) as pairs.

Two layouts are known. MMC4 (v1.1 README): ``text_list`` and ``image_info``, whose ``matched_text_index`` says which
sentence belongs to an image: that one is its caption. OBELICS (hub card) and anything like it: ``texts`` and
``images``, two lists of one length with null where the other list has the element: an image's caption is the text at
its own place, else the next text after it, else the last before it, else null. A document without images makes no row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pairmill.transforms.pool.records import Record
from pairmill.transforms.pool.rows import json_text
from pairmill.transforms.pool.spec import PoolSpec

_ROLES = ("texts", "images", "document_id")
_BROKEN = Record(error="bad_document")


@dataclass(frozen=True)
class DocumentKeys:
    """The names of a document's fields."""

    texts: str = "texts"
    images: str = "images"
    document_id: str = "document_id"


def document_keys(spec: PoolSpec) -> tuple[DocumentKeys, PoolSpec]:
    """The document fields that the spec's columns name, and the spec without them, for the columns of the pairs."""
    named = {role: spec.columns[role] for role in _ROLES if role in spec.columns}
    rest = {name: source for name, source in spec.columns.items() if name not in _ROLES}
    return DocumentKeys(**named), replace(spec, columns=rest)


def document_records(documents: Iterable[Record], keys: DocumentKeys, file: str, first: int = 0) -> Iterator[Record]:
    """One record for each image of each document; a document that cannot be read is one record with its error.

    Made fields: url, caption, document_id (the document's own, else ``FILE#NUMBER``), position (of the image in the
    document's list), image_metadata (JSON), for MMC4 clip_l14_similarity_score. The document's other fields are
    repeated in each of its pairs, its ``url`` as ``page_url``.
    """
    for number, document in enumerate(documents, first):
        if document.error is not None:
            yield document
            continue
        fields = document.fields
        pairs = _matched(fields) if "image_info" in fields else _interleaved(fields, keys)
        if pairs is None:
            yield _BROKEN
            continue
        consumed = {keys.texts, keys.images, keys.document_id, "text_list", "image_info", "similarity_matrix"}
        consumed |= {"metadata"} if _per_image(fields, keys) is not None else set()
        shared = {"page_url" if k == "url" else k: v for k, v in fields.items() if k not in consumed}
        own = fields.get(keys.document_id)
        name = f"{file}#{number}" if own is None else str(own)
        for position, pair in pairs:
            made = {**shared, **pair, "document_id": name, "position": position}
            yield Record(made) if isinstance(pair["url"], str) else Record({**made, "url": None}, error="bad_document")


_Pairs = list[tuple[int, dict[str, object]]]


def _matched(fields: Mapping[str, object]) -> _Pairs | None:
    """The pairs of a document in MMC4's layout; None when it has not its form."""
    texts, infos = fields.get("text_list"), fields["image_info"]
    if not isinstance(texts, list) or not isinstance(infos, list) or not all(isinstance(i, dict) for i in infos):
        return None
    pairs: _Pairs = []
    for position, info in enumerate(infos):
        index = info.get("matched_text_index")
        matched = isinstance(index, int) and 0 <= index < len(texts)
        rest = {k: v for k, v in info.items() if k not in ("raw_url", "matched_sim")}
        pair = {
            "url": info.get("raw_url"),
            "caption": texts[index] if matched else None,
            "image_metadata": json_text(rest),
            "clip_l14_similarity_score": info.get("matched_sim"),
        }
        pairs.append((position, pair))
    return pairs


def _interleaved(fields: Mapping[str, object], keys: DocumentKeys) -> _Pairs | None:
    """The pairs of a document of two lists; None when it has not two lists of one length."""
    texts, images = fields.get(keys.texts), fields.get(keys.images)
    if not isinstance(texts, list) or not isinstance(images, list) or len(texts) != len(images):
        return None
    told = _per_image(fields, keys)
    after: list[object] = [None] * len(texts)
    following: object = None
    for i in range(len(texts) - 1, -1, -1):
        following = texts[i] if texts[i] is not None else following
        after[i] = following
    pairs: _Pairs = []
    before: object = None
    for i, image in enumerate(images):
        before = texts[i] if texts[i] is not None else before
        if image is not None:
            pair = {"url": image, "caption": after[i] if after[i] is not None else before}
            if told is not None:
                pair["image_metadata"] = json_text(told[i])
            pairs.append((i, pair))
    return pairs


def _per_image(fields: Mapping[str, object], keys: DocumentKeys) -> list[object] | None:
    """OBELICS' ``metadata``: a JSON text of a list as long as the images, or None when it is something else."""
    told, images = fields.get("metadata"), fields.get(keys.images)
    if isinstance(told, str):
        try:
            told = json.loads(told)
        except (ValueError, RecursionError):
            return None
    return told if isinstance(told, list) and isinstance(images, list) and len(told) == len(images) else None

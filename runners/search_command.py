"""``pairmill search`` and ``pairmill index``: the pairs of a build that are nearest to a text or an image."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from pairmill.runners.saved_pairs import save_pairs
from pairmill.sharding.embeddings import EmbeddingSet, read_descriptions
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.fault import printable
from pairmill.sharding.lookup import metadata_rows
from pairmill.sharding.manifest import MANIFEST_NAME, Manifest, read_manifest
from pairmill.sharding.nearest import Embeddings, Neighbour, nearest_exact, query_vector, read_embeddings
from pairmill.sharding.nearest_index import build_index, open_index
from pairmill.sharding.publish import sum_file

#: Above so many rows a look at each of them takes longer than to load a model.
MANY_ROWS = 1_000_000
#: What is shown of a pair; a pool of files has ``path`` in place of ``url``.
SHOWN = ("key", "caption", "url", "path")
CAPTION_CHARACTERS = 160


@dataclass(frozen=True)
class Searched:
    """A finished dataset: its folder, its manifest and the sha256 of that, and where its indexes lie."""

    dataset: Path
    manifest: Manifest
    digest: str
    indexes: Path
    record: dict[str, Any]  # build.json; empty for a dataset without its build


def search_pairs(
    build: Path,
    text: str | None = None,
    image: Path | None = None,
    top: int = 10,
    scorer: str | None = None,
    kind: str | None = None,
    model: str | None = None,
    device: str = "auto",
    exact: bool = False,
    save: Path | None = None,
    as_json: bool = False,
) -> int:
    """Print the ``top`` pairs that are nearest to a text or an image; returns 0.

    ``scorer`` and ``kind`` choose the embeddings, ``model`` stands in for the recorded place of the scorer's model,
    ``exact`` looks at every row even if there is an index, ``save`` is a folder for the images and a page of them.
    Raises UsageError when the build has no such embeddings, or the model or the image will not do.
    """
    if (text is None) == (image is None):
        raise UsageError('give a text or --image FILE to look for, such as: pairmill search BUILD "a red circle"')
    if top < 1:
        raise UsageError(f"--top {top}: give at least 1")
    if save is not None and save.exists() and (not save.is_dir() or any(save.iterdir())):
        raise UsageError(f"--save {save} is there already; name a new or an empty folder")
    searched = _open(build)
    told = _choose(searched, build, scorer, kind)
    embeddings = read_embeddings(searched.dataset, told.scorer, told.kind, searched.manifest.shards)
    query = _query(searched, told, text, image, model, device)
    found, by = _nearest(searched, embeddings, query, top, exact)
    pairs = _pairs(searched, embeddings, found)
    if save is not None:
        save_pairs(save, searched.dataset, searched.manifest.image_ext, pairs, text or str(image))
    if as_json:
        asked = {"text": text} if text is not None else {"image": str(image)}
        answer = {"query": asked, "scorer": told.scorer, "kind": told.kind, "by": by, "pairs": pairs}
        print(json.dumps(answer, indent=1, ensure_ascii=False))
    else:
        print("\n".join(_lines(pairs)) or "no sample has an embedding")
    return 0


def index_embeddings(build: Path, scorer: str | None = None, kind: str | None = None) -> int:
    """Make the nearest-neighbour index of one scorer's embeddings, and print how good it is; returns 0."""
    searched = _open(build)
    told = _choose(searched, build, scorer, kind)
    shards = searched.manifest.shards
    embeddings = read_embeddings(searched.dataset, told.scorer, told.kind, shards)
    queries = None
    if told.kind == "image" and any(
        (t.scorer, t.kind) == (told.scorer, "text") for t in read_descriptions(searched.dataset)
    ):
        queries = read_embeddings(searched.dataset, told.scorer, "text", shards)
    from rich.console import Console

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"index of {told.scorer} {told.kind}", total=embeddings.rows)
        index = build_index(
            embeddings, searched.indexes, searched.digest, queries, lambda done: bar.update(task, completed=done)
        )
    facts = index.facts
    print(
        f"{index.path}: {facts.rows:,} embeddings, {index.path.stat().st_size / 1e6:,.1f} MB; it finds "
        f"{facts.recall:.1%} of the ten nearest (measured with {facts.queries} {facts.queries_kind} embeddings)"
    )
    return 0


def _open(build: Path) -> Searched:
    """A build, or a dataset without one. Raises UsageError when it is neither, or not finished."""
    dataset = build / "dataset" if (build / "dataset" / MANIFEST_NAME).is_file() else build
    if not (dataset / MANIFEST_NAME).is_file():
        hint = f"; pairmill status {build} tells how far it is" if (build / "build.json").is_file() else ""
        raise UsageError(f"{build} holds no finished dataset (no {MANIFEST_NAME}){hint}")
    manifest = read_manifest(dataset)
    record: dict[str, Any] = {}
    path = dataset.parent / "build.json"
    if path.is_file():
        try:
            record = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(f"{path} cannot be read; name the model with --model, and the folder dataset/") from error
    return Searched(dataset, manifest, sum_file(dataset / MANIFEST_NAME).sha256, dataset.parent / "index", record)


def _choose(searched: Searched, build: Path, scorer: str | None, kind: str | None) -> EmbeddingSet:
    """The embeddings to search; images before texts where nothing is said."""
    there = read_descriptions(searched.dataset)
    if not there:
        raise UsageError(
            f"{build} has no embeddings to search; add `embeddings: [image]` to a scorer of kind clip in the recipe, "
            "and run it with another --out (the same --work spares the fetch)"
        )
    scorers = sorted({told.scorer for told in there})
    if scorer is None and len(scorers) > 1:
        raise UsageError(f"{build} has embeddings of {', '.join(scorers)}; choose one with --scorer")
    scorer = scorer or scorers[0]
    if scorer not in scorers:
        raise UsageError(f"--scorer {scorer}: {build} has no embeddings of it; it has those of {', '.join(scorers)}")
    kinds = {told.kind: told for told in there if told.scorer == scorer}
    kind = kind or ("image" if "image" in kinds else min(kinds))
    if kind not in kinds:
        raise UsageError(f"--in {kind}: there are no such embeddings of {scorer}; there are: {', '.join(kinds)}")
    return kinds[kind]


def _query(
    searched: Searched, told: EmbeddingSet, text: str | None, image: Path | None, model: str | None, device: str
) -> npt.NDArray[np.float32]:
    from pairmill.pipeline.query_model import load_query_model

    parameters = searched.record.get("scorers", {}).get(told.scorer)
    try:
        asker = load_query_model(told.model, parameters, model, device)
    except ValueError as error:
        raise UsageError(f"scorer {told.scorer}: {error}") from error
    try:
        if image is not None:
            vector = asker.embed_image(image.read_bytes(), searched.manifest.recipe_text)
        else:
            vector = asker.embed_text(text or "")
        return query_vector(vector, told)
    except OSError as error:
        raise UsageError(f"--image {image}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"--image {image}: {error}" if image is not None else f"{text!r:.80}: {error}") from error


def _nearest(
    searched: Searched, embeddings: Embeddings, query: npt.NDArray[np.float32], top: int, exact: bool
) -> tuple[list[Neighbour], str]:
    """The nearest rows, and by what they were found: ``index`` or ``exact``."""
    index = None
    if not exact:
        try:
            index = open_index(searched.indexes, embeddings, searched.digest)
        except PairmillError as error:
            _note(f"{error}; looked at every row")
    if index is not None:
        return index.search(embeddings, query, top), "index"
    if not exact and embeddings.rows > MANY_ROWS:
        _note(f"looking at all {embeddings.rows:,} rows; pairmill index makes this faster for the next time")
    return nearest_exact(embeddings, query[None], top)[0], "exact"


def _pairs(searched: Searched, embeddings: Embeddings, found: Sequence[Neighbour]) -> list[dict[str, Any]]:
    places = [embeddings.place(one.row) for one in found]
    rows = metadata_rows(searched.dataset, places, SHOWN)
    return [
        {"rank": rank, "similarity": round(one.similarity, 4), "shard": place.shard, "index": place.number, **row}
        for rank, (one, place, row) in enumerate(zip(found, places, rows, strict=True), start=1)
    ]


def _lines(pairs: Sequence[dict[str, Any]]) -> list[str]:
    """Two lines a pair; nothing in them can move the cursor, since captions are anyone's."""
    lines = []
    for pair in pairs:
        caption = printable(" ".join((pair.get("caption") or "").split()))
        if len(caption) > CAPTION_CHARACTERS:
            caption = caption[: CAPTION_CHARACTERS - 1] + "…"
        lines.append(f"{pair['rank']:3}  {pair['similarity']:7.4f}  {pair['key']}  {pair['shard']}")
        lines.append(f"     {caption}")
        if where := pair.get("url") or pair.get("path"):
            lines.append(f"     {printable(where)}")
    return lines


def _note(text: str) -> None:
    print(f"pairmill: {printable(text)}", file=sys.stderr)

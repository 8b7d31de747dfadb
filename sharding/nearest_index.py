"""A nearest-neighbour index over a dataset's embeddings: a graph (HNSW, Malkov and Yashunin 2016) made by usearch.

The index lies outside the dataset, in a folder of its own, under the name of the manifest that it was made from: one of
an older dataset is never asked. It only proposes rows; their cosines are then computed from the dataset's own
embeddings. So one byte a dimension is enough for it: a third of the time to make and half the size of float16, and the
same recall. How far it must look to propose the right rows differs from data to data: it is measured when it is made.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.sharding.embeddings import HALF
from pairmill.sharding.errors import PairmillError, UsageError
from pairmill.sharding.indexes import json_text
from pairmill.sharding.nearest import Embeddings, Neighbour, nearest_exact, nearest_of
from pairmill.sharding.publish import TEMPORARY_MARK, publish_bytes

FORMAT = "pairmill-nearest-index"
FORMAT_VERSION = 1
SUFFIX = ".usearch"
#: Edges a node, and how far a new node looks for its own: the defaults of usearch and of the paper's range.
CONNECTIVITY = 16
EXPANSION_ADD = 128
#: How far a search may look, tried in this order until the recall is reached. The first costs some milliseconds, and
#: no less is tried: texts find images from further off than the images find each other by which it may be measured.
EXPANSIONS = (1024, 2048, 4096, 8192, 16_384)
RECALL_AT = 10
RECALL_WANTED = 0.98
#: An index of less is not kept: looking at every row is the better search then.
RECALL_LEAST = 0.9
RECALL_QUERIES = 100
#: Between two cosines of the same vectors in float32, added up in another order.
ROUNDING = 1e-5
#: The graph proposes so many rows for each one asked for, and exact cosines put them in order; bits alone say less.
OVERSAMPLING = {"i8": 4, "b1": 16}


@dataclass(frozen=True)
class IndexFacts:
    """What is known of an index. ``recall``: its share of the true ten nearest, over so many ``queries``."""

    scorer: str
    kind: str
    dataset: str  # sha256 of the dataset's manifest
    rows: int
    dimensions: int
    dtype: str
    expansion_search: int
    recall: float
    queries: int
    queries_kind: str  # what the queries were embeddings of
    usearch: str  # version


@dataclass(frozen=True)
class NearestIndex:
    """An index mapped from its file."""

    facts: IndexFacts
    path: Path
    graph: Any

    def search(self, embeddings: Embeddings, query: npt.NDArray[np.float32], top: int) -> list[Neighbour]:
        """The nearest ``top`` rows among those that the graph proposes, by exact cosine."""
        return _search(self.graph, embeddings, query, top)


def index_path(folder: Path, scorer: str, kind: str, dataset: str) -> Path:
    """Where the index of a dataset lies; ``dataset`` is the sha256 of its manifest."""
    return folder / f"{scorer}-{kind}-{dataset[:16]}{SUFFIX}"


def build_index(
    embeddings: Embeddings,
    folder: Path,
    dataset: str,
    queries: Embeddings | None = None,
    progress: Callable[[int], object] | None = None,
) -> NearestIndex:
    """Make the index of ``embeddings`` and put it into ``folder``; those of older datasets are removed.

    ``dataset`` is the sha256 of the manifest. The recall is measured with some vectors of ``queries``, embeddings of
    what will be asked with (texts, for an index of images), or of the embeddings themselves. All vectors are in memory
    while it is made. Threads add rows at once, so that two indexes of one dataset differ. ``progress`` is called with
    the number of rows that are in.

    Raises UsageError when usearch is not installed, or no row has an embedding; PairmillError when the recall stays
    below 0.9 however far the index looks; OSError when the disk is full.
    """
    present = np.setdiff1d(np.arange(embeddings.rows), embeddings.missing())
    if not len(present):
        raise UsageError(f"none of the {embeddings.rows} samples has an embedding of {embeddings.told.scorer}")
    graph = _empty(embeddings)
    for first, block in embeddings.blocks():
        rows = present[np.searchsorted(present, first) : np.searchsorted(present, first + len(block))]
        if len(rows):
            graph.add(rows.astype(np.uint64), np.ascontiguousarray(block[rows - first]), threads=0)
        if progress is not None:
            progress(first + len(block))
    recall, asked = _tune(graph, embeddings, queries or embeddings)
    if recall < RECALL_LEAST:
        raise PairmillError(
            f"an index of {embeddings.told.scorer} {embeddings.told.kind} finds only {recall:.0%} of the ten nearest, "
            f"asked with {(queries or embeddings).told.kind} embeddings; it is not kept: search without one"
        )
    facts = IndexFacts(
        scorer=embeddings.told.scorer,
        kind=embeddings.told.kind,
        dataset=dataset,
        rows=len(present),
        dimensions=embeddings.told.dimensions,
        dtype=_dtype(embeddings),
        expansion_search=int(graph.expansion_search),
        recall=recall,
        queries=asked,
        queries_kind=(queries or embeddings).told.kind,
        usearch=_usearch().__version__,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = index_path(folder, facts.scorer, facts.kind, dataset)
    _save(graph, path)
    publish_bytes(
        path.with_suffix(".json"), json_text({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(facts)})
    )
    for old in folder.glob(f"{facts.scorer}-{facts.kind}-*"):
        if old.stem != path.stem and TEMPORARY_MARK not in old.name:
            old.unlink(missing_ok=True)
    return NearestIndex(facts, path, graph)


def open_index(folder: Path, embeddings: Embeddings, dataset: str) -> NearestIndex | None:
    """Map the index of this very dataset; None where there is none. Raises PairmillError for one that is damaged."""
    path = index_path(folder, embeddings.told.scorer, embeddings.told.kind, dataset)
    told = path.with_suffix(".json")
    if not (path.is_file() and told.is_file()):
        return None
    Index = _usearch().index.Index
    try:
        data = json.loads(told.read_bytes())
        if (data.pop("format"), data.pop("format_version")) != (FORMAT, FORMAT_VERSION):
            return None
        facts = IndexFacts(**data)
        graph = Index.restore(str(path), view=True)
        fits = graph is not None and (len(graph), graph.ndim) == (facts.rows, facts.dimensions)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError):
        fits = False
    if not fits or facts.dataset != dataset:
        raise PairmillError(f"{path} is damaged; remove it, and make it again with pairmill index")
    graph.expansion_search = facts.expansion_search
    return NearestIndex(facts, path, graph)


def _usearch() -> Any:
    try:
        import usearch
        import usearch.index
    except ModuleNotFoundError as error:
        raise UsageError("the index needs the package usearch; pip install 'pairmill[models]'") from error
    return usearch


def _dtype(embeddings: Embeddings) -> str:
    return "b1" if embeddings.told.encoding == "binary" else "i8"


def _empty(embeddings: Embeddings) -> Any:
    return _usearch().index.Index(
        ndim=embeddings.told.dimensions,
        metric="hamming" if embeddings.told.encoding == "binary" else "cos",
        dtype=_dtype(embeddings),
        connectivity=CONNECTIVITY,
        expansion_add=EXPANSION_ADD,
        expansion_search=EXPANSIONS[0],
    )


def _search(graph: Any, embeddings: Embeddings, query: npt.NDArray[np.float32], top: int) -> list[Neighbour]:
    asked = np.packbits(query > 0) if embeddings.told.encoding == "binary" else query.astype(HALF)
    proposed = graph.search(asked, min(top * OVERSAMPLING[_dtype(embeddings)], len(graph)))
    return nearest_of(embeddings, query, np.asarray(proposed.keys, dtype=np.int64), top)


def _tune(graph: Any, embeddings: Embeddings, queries: Embeddings) -> tuple[float, int]:
    """Let the graph look as far as the wanted recall needs; returns the recall and the number of queries."""
    rows = np.setdiff1d(np.arange(queries.rows), queries.missing())
    rows = rows[np.linspace(0, len(rows) - 1, min(RECALL_QUERIES, len(rows))).astype(np.int64)]
    vectors = _as_vectors(queries, np.unique(rows))
    truth = nearest_exact(embeddings, vectors, RECALL_AT)
    recall = 0.0
    for expansion in EXPANSIONS:
        graph.expansion_search = expansion
        met = []
        for vector, true in zip(vectors, truth, strict=True):
            found = _search(graph, embeddings, vector, RECALL_AT)
            # One as near as the last of the true ones is as good (bits have many equals), but for rounding.
            bound = true[-1].similarity - ROUNDING
            met.append(min(1.0, sum(one.similarity >= bound for one in found) / len(true)))
        recall = float(np.mean(met))
        if recall >= RECALL_WANTED:
            break
    return recall, len(vectors)


def _as_vectors(embeddings: Embeddings, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Stored vectors as queries of length 1."""
    stored = embeddings.take(rows)
    if embeddings.told.encoding == "binary":
        signs = np.unpackbits(stored, axis=1).astype(np.float32) * 2 - 1  # type: ignore[arg-type]
        return np.asarray(signs / np.sqrt(np.float32(embeddings.told.dimensions)))
    return stored.astype(np.float32)


def _save(graph: Any, path: Path) -> None:
    temporary = path.with_name(f"{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
    try:
        graph.save(str(temporary))
        temporary.replace(path)
    except RuntimeError as error:  # usearch's word for whatever the system refuses
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise PairmillError(f"{path} cannot be written: {error}") from error
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise

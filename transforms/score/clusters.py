"""The nearest centroid of each image embedding, as DataComp's image_based finds it, and the scorer that writes it.

Nearest is what DataComp's code calls so: the largest dot product, not the smallest distance. A row's length does not
matter for that, so that normalised and raw embeddings have the same clusters; the centroids' lengths do.

DataComp takes the largest product in single precision, where products of one pair round otherwise from one shape of a
matrix to the next. Here those that rounding could exchange are compared in double precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from pairmill.transforms.model_folder import weight_file_sha256
from pairmill.transforms.score.scorer import LoadedHead, Measures, Scorer

#: Rows that are multiplied at once.
BATCH_ROWS = 256
#: Centroids that are multiplied at once: with the rows above 64 MiB of products.
BATCH_CENTROIDS = 65_536


@dataclass(frozen=True, kw_only=True)
class ClusterScorer(Scorer):
    """The number of the nearest centroid to each image embedding of the scorer ``on``: the column ``<name>_cluster``.

    ``centroids``: a file with an array (clusters, width), ``.npy``, ``.safetensors`` or what torch saved (``.pt``).
    ``sha256``: of that file; checked where given. The scorer of the name ``image`` writes ``image_cluster``, which the
    rule of that name reads.
    """

    kind: ClassVar[str] = "cluster"
    source: ClassVar[str] = "DataComp image_based (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"
    reads: ClassVar[Literal["image", "text"]] = "image"
    paths: ClassVar[tuple[str, ...]] = ("centroids",)

    on: str
    centroids: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name in ("on", "centroids"):
            if not getattr(self, name).strip():
                raise ValueError(f"cluster: {name} is empty; name {'a scorer' if name == 'on' else 'a file'}")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        """``<name>_cluster`` and ``<name>_outcome``."""
        return {f"{name}_cluster": pl.UInt32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        """The digest of the centroids, and how many there are."""
        digest = weight_file_sha256(self.centroids, sha256=self.sha256)
        return {"centroids": digest, "clusters": len(read_vectors(Path(self.centroids)))}

    @property
    def embedder(self) -> str | None:
        """The scorer that it reads."""
        return self.on

    def check_embedder(self, embedder: Scorer) -> None:
        """Raises ValueError where the embeddings have another width than the centroids."""
        width, wanted = embedder.embedding_width(), read_vectors(Path(self.centroids)).shape[1]
        if width != wanted:
            raise ValueError(
                f"centroids {self.centroids}: they have {wanted} numbers, and the embeddings of {self.on} {width}; "
                "name the centroids that belong to the model"
            )

    def load(self, device: str, precision: str) -> LoadedHead:
        """The centroids in memory; always on the CPU and in single precision."""
        return _LoadedCentroids(read_vectors(Path(self.centroids)))


class _LoadedCentroids(LoadedHead):
    def __init__(self, centroids: npt.NDArray[np.float32]) -> None:
        self._centroids = centroids

    def score(self, embeddings: npt.NDArray[np.float32]) -> Measures:
        """The measure ``cluster``, uint32."""
        return {"cluster": nearest_centroids(embeddings, self._centroids).astype(np.uint32)}


def nearest_centroids(embeddings: npt.NDArray[Any], centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The number of the centroid with the largest dot product for each embedding; of equal centroids the first.

    ``embeddings`` (rows, width), any floating type, are taken in single precision, as are ``centroids`` (clusters,
    width). -1 where an embedding is not finite. Returns shape (rows,). Raises ValueError for shapes that do not fit.
    """
    if embeddings.ndim != 2 or centroids.ndim != 2 or embeddings.shape[1] != centroids.shape[1] or not len(centroids):
        raise ValueError(f"embeddings of shape {embeddings.shape} and centroids of {centroids.shape} do not fit")
    found = np.full(len(embeddings), -1, dtype=np.int64)
    longest = float(np.sqrt((centroids.astype(np.float64) ** 2).sum(axis=1).max()))
    for start in range(0, len(embeddings), BATCH_ROWS):
        rows = np.asarray(embeddings[start : start + BATCH_ROWS], dtype=np.float32)
        finite = np.flatnonzero(np.isfinite(rows).all(axis=1))
        found[start + finite] = _nearest(rows[finite], centroids, longest)
    return found


def target_clusters(references: npt.NDArray[Any], centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """The clusters that some reference embedding is nearest to, sorted: those that DataComp's image_based keeps."""
    found = np.unique(nearest_centroids(references, centroids))
    return found[found >= 0]


def read_vectors(path: Path) -> npt.NDArray[np.float32]:
    """An array (rows, width) from a file, in single precision: ``.npy``, ``.safetensors``, or what torch saved.

    Of a file with several arrays it is ``image_features`` (so DataComp's embeddings), else the only one. Nothing but
    tensors is unpickled: the arrays that DataComp publishes as centroids must be saved as ``.npy`` first. Raises
    ValueError with one line where there is no such array.
    """
    try:
        array = _array(path)
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: the package {error.name!r} is missing; pip install 'pairmill[models]'") from error
    except Exception as error:  # damaged files raise what they like, torch among them
        raise ValueError(f"{path}: {str(error).splitlines()[0] if str(error) else type(error).__name__}") from error
    if array.ndim != 2 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{path}: holds an array of shape {array.shape}; vectors are rows of finite numbers")
    return np.ascontiguousarray(array, dtype=np.float32)


def _nearest(
    rows: npt.NDArray[np.float32], centroids: npt.NDArray[np.float32], longest: float
) -> npt.NDArray[np.int64]:
    """Of finite rows. ``longest`` is the largest length of a centroid, which bounds the rounding of a product."""
    lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))
    rounding = 2 * (rows.shape[1] + 2) * float(np.finfo(np.float32).eps) * lengths * longest
    best = np.full(len(rows), -np.inf)
    candidates = []
    for start in range(0, len(centroids), BATCH_CENTROIDS):
        products = rows @ centroids[start : start + BATCH_CENTROIDS].T
        best = np.maximum(best, products.max(axis=1)) if len(rows) else best
        row, centroid = np.nonzero(products >= (best - rounding).astype(np.float32)[:, None])
        candidates.append((row, centroid + start, products[row, centroid]))
    row, centroid, product = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    left = product >= (best - rounding).astype(np.float32)[row]
    row, centroid = row[left], centroid[left]
    exact = np.concatenate(
        [
            (rows[row[at : at + 4096]].astype(np.float64) * centroids[centroid[at : at + 4096]]).sum(axis=1)
            for at in range(0, max(len(row), 1), 4096)
        ]
    )
    order = np.lexsort((centroid, -exact, row))
    first = np.flatnonzero(np.diff(row[order], prepend=-1))
    nearest: npt.NDArray[np.int64] = centroid[order][first]
    return nearest


def _array(path: Path) -> npt.NDArray[Any]:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return np.asarray(_the_one(load_file(path)))
    return _of_torch(path)


def _of_torch(path: Path) -> npt.NDArray[Any]:
    """What torch saved: a tensor, or a dict with one."""
    import pickle
    import warnings

    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how the file was pickled, which is our reader's concern alone
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            "holds more than tensors, which is not unpickled; if you trust it, save its array as .npy with numpy.save"
        ) from None
    value = _the_one(loaded) if isinstance(loaded, dict) else loaded
    return np.asarray(value.float().numpy())


def _the_one(arrays: dict[str, Any]) -> Any:
    if "image_features" in arrays:
        return arrays["image_features"]
    if len(arrays) != 1:
        raise ValueError(f"holds {len(arrays)} arrays ({', '.join(map(str, arrays))}) and none is image_features")
    return next(iter(arrays.values()))

"""Images by the cluster that their embedding lies in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from pairmill.filters.listed import NUMBER, table_of
from pairmill.filters.rule import Rejection, ValueRule
from pairmill.sharding.value_list import ListFile


@dataclass(frozen=True, kw_only=True)
class ImageCluster(ValueRule):
    """Keeps images whose nearest centroid is one of ``clusters``, numbers from 0.

    The column holds the number of the nearest centroid (``pairmill.transforms.score.clusters``). In DataComp's
    image_based ``clusters`` are those that some ImageNet-1k training image is nearest to.
    """

    name: ClassVar[str] = "image_cluster"
    source: ClassVar[str] = "DataComp image_based (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"
    reasons: ClassVar[tuple[str, ...]] = ("image_cluster_not_kept",)

    clusters: tuple[int, ...] | ListFile
    column: str = "image_cluster"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.clusters, str) or self.clusters == ():
            raise ValueError(f"{self.name}: clusters is {self.clusters!r}; list numbers, or give {{file: PATH}}")

    def columns(self) -> tuple[str, ...]:
        """The number of the cluster."""
        return (self.column,)

    def rejections(self) -> tuple[Rejection, ...]:
        """Another cluster."""
        return (Rejection("image_cluster_not_kept", ~table_of(self.clusters, NUMBER).has(pl.col(self.column))),)

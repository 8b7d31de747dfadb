"""The rules of DataComp's baselines.

Source of all: Gadre et al. 2023, arXiv:2304.14108, section 4.1; the code is the reference:
baselines/apply_filter.py of mlfoundations/datacomp. Given the same columns they keep the rows that it keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.caption_words import CaptionWords
from pairmill.filters.column_values import ColumnValues
from pairmill.filters.image_cluster import ImageCluster
from pairmill.filters.image_size import ImageSize
from pairmill.filters.language import Language
from pairmill.filters.listed import Listed
from pairmill.filters.rule import Rule
from pairmill.filters.rule_set import RuleSet
from pairmill.filters.score import Score
from pairmill.sharding.value_list import ListFile

#: The models of the pool's own scores.
_CLIP = {"b32": "ViT-B-32/openai", "l14": "ViT-L-14/openai"}
_SOURCE = "DataComp {} (Gadre et al. 2023, arXiv:2304.14108; baselines/apply_filter.py)"


def basic_filter() -> tuple[Rule, ...]:
    """DataComp's ``basic_filter``: English, more than 2 words and 5 characters, sides from 200, aspect up to 3.

    Keeps the rows that DataComp's own code keeps, given the same language column (DataComp used fastText's
    ``lid.176.bin``, the top language without a threshold, line feeds read as spaces). Captions are judged first, so
    that a row without one is rejected for that and not for its unknown language.
    """
    return (
        CaptionLength(min_words=3, min_chars=6),
        Language(keep=("en",)),
        ImageSize(min_side=200, max_aspect=3.0),
    )


@dataclass(frozen=True, kw_only=True)
class NoFilter(RuleSet):
    """Every pair."""

    name: ClassVar[str] = "no_filter"
    source: ClassVar[str] = _SOURCE.format("no_filter")

    def rules(self) -> tuple[Rule, ...]:
        """None."""
        return ()


@dataclass(frozen=True, kw_only=True)
class BasicFilter(RuleSet):
    """English captions and images of some size: see ``basic_filter``."""

    name: ClassVar[str] = "basic_filter"
    source: ClassVar[str] = _SOURCE.format("basic_filter")

    def rules(self) -> tuple[Rule, ...]:
        """Caption, language, image."""
        return basic_filter()


@dataclass(frozen=True, kw_only=True)
class TextBased(RuleSet):
    """English captions with a word whose first WordNet synset is one of ImageNet-21k's.

    ``words``: those words, as ``python -m pairmill.pipeline.datacomp_assets words`` makes them of WordNet and of
    DataComp's list of synset ids.
    """

    name: ClassVar[str] = "text_based"
    source: ClassVar[str] = _SOURCE.format("text_based")

    words: Listed

    def rules(self) -> tuple[Rule, ...]:
        """Words, language."""
        return (CaptionWords(require=self.words), Language(keep=("en",)))


@dataclass(frozen=True, kw_only=True)
class ClipScore(RuleSet):
    """A CLIP similarity of at least ``threshold``: DataComp published 0.25 for ViT-B/32.

    ``arch`` names the pool's own scores; ``column`` another column, with the scores of the same model. For ViT-L/14
    DataComp published a share of the pool (the top 30 %) and no number, so there ``threshold`` must be given.
    """

    name: ClassVar[str] = "clip_score"
    source: ClassVar[str] = _SOURCE.format("clip_score")

    arch: Literal["b32", "l14"] = "b32"
    threshold: float | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        if self.arch not in ("b32", "l14"):
            raise ValueError(f"{self.name}: arch is {self.arch!r}; it must be 'b32' or 'l14'")
        if self.threshold is None and self.arch != "b32":
            raise ValueError(f"{self.name}: give a threshold: DataComp published none for {self.arch}")

    def rules(self) -> tuple[Rule, ...]:
        """The one threshold; a pair without a score is rejected."""
        column = self.column or f"clip_{self.arch}_similarity_score"
        return (_clip_at_least(column, 0.25 if self.threshold is None else self.threshold, self.arch),)


@dataclass(frozen=True, kw_only=True)
class Laion2B(RuleSet):
    """LAION-2B as DataComp reproduces it: English by gcld3, and a ViT-B/32 similarity of at least 0.28.

    ``english_column`` (Boolean) says whether gcld3 calls the caption English, which the scorer ``gcld3`` measures.
    """

    name: ClassVar[str] = "laion2b"
    source: ClassVar[str] = _SOURCE.format("laion2b")

    english_column: str = "gcld3_is_en"
    column: str = "clip_b32_similarity_score"

    def rules(self) -> tuple[Rule, ...]:
        """Language, similarity."""
        return (ColumnValues(column=self.english_column, keep=(True,)), _clip_at_least(self.column, 0.28, "b32"))


@dataclass(frozen=True, kw_only=True)
class ImageBased(RuleSet):
    """English captions of more than 1 token and 5 characters, and images in clusters that ImageNet-1k has part in.

    The caption rule is looser than ``basic_filter``'s and counts as fastText does, line feeds included. A caption of
    nothing but white space has no language here; DataComp's model calls it English, so it passes that rule.
    ``clusters``: as ``python -m pairmill.pipeline.datacomp_assets clusters`` makes them.
    """

    name: ClassVar[str] = "image_based"
    source: ClassVar[str] = _SOURCE.format("image_based")

    clusters: tuple[int, ...] | ListFile
    column: str = "image_cluster"

    def rules(self) -> tuple[Rule, ...]:
        """Caption, language, cluster."""
        return (
            CaptionLength(min_words=2, min_chars=6, words="fasttext"),
            Language(keep=("en",), missing="keep"),
            ImageCluster(clusters=self.clusters, column=self.column),
        )


@dataclass(frozen=True, kw_only=True)
class ImageBasedClipScore(ClipScore):
    """``clip_score``, and ``image_based``: with the top 30 % by ViT-L/14 this made DataComp-1B."""

    name: ClassVar[str] = "image_based_intersect_clip_score"
    source: ClassVar[str] = _SOURCE.format("image_based_intersect_clip_score")

    clusters: tuple[int, ...] | ListFile
    cluster_column: str = "image_cluster"

    def rules(self) -> tuple[Rule, ...]:
        """Similarity, then caption, language and cluster."""
        return super().rules() + ImageBased(clusters=self.clusters, column=self.cluster_column).rules()


def _clip_at_least(column: str, at_least: float, arch: str) -> Rule:
    return Score(column=column, at_least=at_least, model=_CLIP[arch], scale="cosine")

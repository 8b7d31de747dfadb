"""The rules of DataComp's baselines."""

from __future__ import annotations

from pairmill.filters.caption_length import CaptionLength
from pairmill.filters.image_size import ImageSize
from pairmill.filters.language import Language
from pairmill.filters.rule import Rule


def basic_filter() -> tuple[Rule, ...]:
    """DataComp's ``basic_filter``: English, more than 2 words and 5 characters, sides from 200, aspect up to 3.

    Keeps the rows that DataComp's own code keeps, given the same language column (DataComp used fastText's
    ``lid.176.bin``, the top language without a threshold, line feeds read as spaces). Captions are judged first, so
    that a row without one is rejected for that and not for its unknown language. Source: Gadre et al. 2023,
    arXiv:2304.14108; ``load_uids_with_basic_filter_helper`` in baselines/apply_filter.py.
    """
    return (
        CaptionLength(min_words=3, min_chars=6),
        Language(keep=("en",)),
        ImageSize(min_side=200, max_aspect=3.0),
    )

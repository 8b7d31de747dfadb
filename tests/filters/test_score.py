from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pairmill.filters.by import By
from pairmill.filters.column_range import ColumnRange
from pairmill.filters.combine import AnyOf
from pairmill.filters.score import MeasuredBy, Scale, Score, check_models
from pairmill.filters.verdict import first_reason

B32 = MeasuredBy(("ViT-B-32/openai",), sha256="afeb0e10f9e5" + "0" * 52, scale="cosine")


def score(**parameters: Any) -> Score:
    return Score(
        **{"column": "clip_similarity", "at_least": 0.28, "model": "ViT-B-32/openai", "scale": "cosine", **parameters}
    )


def test_it_keeps_what_column_range_keeps():
    frame = pl.DataFrame(
        {"clip_similarity": [0.1, 0.28, 0.9, None, float("nan")]}, schema={"clip_similarity": pl.Float32}
    )
    for parameters in ({"at_least": 0.28}, {"at_least": 0.2, "at_most": 0.5}, {"at_least": 0.2, "missing": "keep"}):
        expected = first_reason([ColumnRange(column="clip_similarity", **parameters)], frame).to_list()
        assert first_reason([score(**parameters)], frame).to_list() == expected
    assert first_reason([score()], frame).to_list() == [
        "clip_similarity_too_low",
        None,
        None,
        "missing_clip_similarity",
        "missing_clip_similarity",
    ]


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"model": " "}, "score: name the model that the bounds on 'clip_similarity' were chosen for"),
        ({"model": "sha256:abc"}, "after sha256: give 8 to 64 hex digits"),
        ({"scale": "percent"}, "scale is 'percent'; it must be one of cosine, probability, 0-10"),
        ({"at_least": 28.0}, r"at_least 28.0 is not on the scale cosine, -1 to 1"),
        ({"at_least": None, "at_most": 5.0, "scale": "probability"}, r"at_most 5.0 is not on the scale probability"),
        ({"scale": "perplexity"}, r"at_least 0.28 is not on the scale perplexity, 1 to inf"),
        ({"at_least": None}, "needs at_least, at_most or both"),
    ],
)
def test_bad_parameters(parameters, told):
    with pytest.raises(ValueError, match=told):
        score(**parameters)


@pytest.mark.parametrize(
    "model", ["ViT-B-32/openai", "vit-b-32-quickgelu/openai", "sha256:afeb0e10", "sha256:afeb0e10f9e5"]
)
def test_the_model_that_measures_is_known_by_its_names(model):
    check_models([score(model=model)], {"clip_similarity": B32})


@pytest.mark.parametrize("model", ["ViT-L-14/openai", "ViT-B-32", "ViT-B-32/laion2b_s34b_b79k", "sha256:00000000"])
def test_another_model_is_refused(model):
    with pytest.raises(
        ValueError,
        match=rf"bounds on clip_similarity are for {model}, and the recipe measures it with "
        r"ViT-B-32/openai or sha256:afeb0e10f9e5; choose bounds",
    ) as refused:
        check_models([score(model=model)], {"clip_similarity": B32})
    assert "\n" not in str(refused.value)


def test_a_hub_id_with_and_without_its_prefix():
    by = MeasuredBy(("hf-hub:apple/DFN2B-CLIP-ViT-B-16",))
    check_models([score(model="apple/DFN2B-CLIP-ViT-B-16")], {"clip_similarity": by})
    with pytest.raises(ValueError, match="are for sha256:afeb0e10"):
        check_models([score(model="sha256:afeb0e10")], {"clip_similarity": by})


@pytest.mark.parametrize("scale", ["cosine", None])
def test_another_scale_is_refused_where_the_scale_is_known(scale: Scale | None):
    by = MeasuredBy(("m",), scale=scale)
    rule = score(model="m", scale="probability")
    if scale is None:
        check_models([rule], {"clip_similarity": by})
        return
    with pytest.raises(ValueError, match="clip_similarity is on the scale cosine, and the bounds on probability"):
        check_models([rule], {"clip_similarity": by})


def test_rules_within_rules_are_looked_at():
    wrong = score(model="other")
    other = ColumnRange(column="clip_similarity", at_least=0.1)
    for rule in (
        AnyOf(of=(other, wrong)),
        By(column="lang", values=(("en", (other, wrong)),)),
        By(column="lang", values=(("en", (other,)),), otherwise=(wrong,)),
    ):
        with pytest.raises(ValueError, match="are for other"):
            check_models([rule], {"clip_similarity": B32})


def test_a_column_that_the_pool_brings_is_believed():
    check_models([score(model="other"), ColumnRange(column="clip_similarity", at_least=0.1)], {"clip_score": B32})

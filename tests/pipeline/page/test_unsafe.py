"""Which pictures a page keeps out of sight."""

from __future__ import annotations

from typing import Any

import pytest

from pairmill.pipeline.page.unsafe import is_unsafe_reason, said_unsafe, unsafe_scorers


@pytest.mark.parametrize(
    ("reason", "unsafe"),
    [
        ("nsfw_score_too_high", True),
        ("missing_nsfw_score", True),
        ("punsafe_too_high", True),
        ("guard_score_too_high", True),
        ("missing_guard_score", True),
        ("removed", True),
        ("sha256_blocked", True),
        ("host_blocked", True),
        ("clip_similarity_too_low", False),
        ("guarded_too_low", False),
        ("essex_too_low", False),
        ("near_duplicate", False),
        ("image_too_small", False),
    ],
)
def test_reasons(reason: str, unsafe: bool) -> None:
    scorers = unsafe_scorers({"guard": {"head": {"on": "clip", "known": "laion_nsfw"}}, "clip": {"clip": {}}})
    assert scorers == {"guard"}
    assert is_unsafe_reason(reason, scorers) is unsafe


@pytest.mark.parametrize(
    ("record", "unsafe"),
    [
        ({"NSFW": "NSFW"}, True),
        ({"NSFW": "UNLIKELY"}, False),
        ({"punsafe": 0.7}, True),
        ({"punsafe": 0.2, "similarity": 0.9}, False),
        ({"nsfw_score": None}, False),
        ({"unsafe": True}, True),
        ({"caption": "nsfw", "similarity": 0.8}, False),
        ({}, False),
    ],
)
def test_records(record: dict[str, Any], unsafe: bool) -> None:
    assert said_unsafe(record) is unsafe

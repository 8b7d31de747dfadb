from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.duplicates.groups import duplicate_groups


@st.composite
def linked(draw):
    rows = draw(st.integers(0, 20))
    one = st.lists(st.integers(0, max(rows - 1, 0)), min_size=rows, max_size=rows)
    links = draw(st.lists(one, max_size=3))
    return rows, [np.array(link, dtype=np.int64) for link in links]


@settings(deadline=None)
@given(linked())
def test_a_group_is_what_links_reach(case):
    rows, links = case
    expected = list(range(rows))
    for _ in range(rows):
        for link in links:
            for row in range(rows):
                low = min(expected[row], expected[link[row]])
                expected[row] = expected[link[row]] = low
    groups = duplicate_groups(rows, links)
    assert groups.dtype == np.int64
    assert groups.tolist() == expected


def test_rows_joined_through_others_share_a_group():
    by_url = np.array([0, 0, 2, 3, 4])
    by_sha256 = np.array([0, 1, 1, 3, 4])
    near = np.array([0, 1, 4, 3, 4])
    assert duplicate_groups(5, [by_url, by_sha256, near]).tolist() == [0, 0, 0, 3, 0]


@pytest.mark.parametrize("link", [[0], [0, 2], [0, -1]])
def test_a_link_that_names_no_row_is_refused(link):
    with pytest.raises(ValueError, match="a link must name one of the 2 rows"):
        duplicate_groups(2, [np.array(link, dtype=np.int64)])

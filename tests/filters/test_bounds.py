from __future__ import annotations

import pytest

from pairmill.filters.bounds import check_at_least, check_bounds


@pytest.mark.parametrize(("low", "high"), [(None, None), (1, None), (None, 1), (1, 1), (0.5, 2)])
def test_sound_bounds_pass(low, high):
    check_bounds("rule", "low", low, "high", high)


@pytest.mark.parametrize("bound", [float("nan"), float("inf"), True])
def test_a_bound_is_a_finite_number(bound):
    with pytest.raises(ValueError, match=r"rule: high is .*; it must be a finite number"):
        check_bounds("rule", "low", None, "high", bound)


def test_crossed_bounds_are_refused():
    with pytest.raises(ValueError, match="rule: low 3 is above high 2, so that no row could pass"):
        check_bounds("rule", "low", 3, "high", 2)


def test_a_least_value():
    check_at_least("rule", "size", None, 1)
    check_at_least("rule", "size", 1, 1)
    with pytest.raises(ValueError, match="rule: size is 0; it must be at least 1"):
        check_at_least("rule", "size", 0, 1)
    with pytest.raises(ValueError, match="rule: size is nan"):
        check_at_least("rule", "size", float("nan"), 1)

"""What a lower and an upper bound of a rule must satisfy."""

from __future__ import annotations

import math


def check_bounds(rule: str, low_name: str, low: float | None, high_name: str, high: float | None) -> None:
    """Refuse bounds that are not finite numbers or leave no value between them; None means no bound.

    Raises ValueError naming the rule and the parameter.
    """
    for name, bound in ((low_name, low), (high_name, high)):
        if bound is not None and (isinstance(bound, bool) or not math.isfinite(bound)):
            raise ValueError(f"{rule}: {name} is {bound}; it must be a finite number")
    if low is not None and high is not None and low > high:
        raise ValueError(f"{rule}: {low_name} {low} is above {high_name} {high}, so that no row could pass")


def check_at_least(rule: str, name: str, value: float | None, least: float) -> None:
    """Refuse a parameter below what makes sense; None means that it is not used. Raises ValueError."""
    if value is not None and not value >= least:
        raise ValueError(f"{rule}: {name} is {value}; it must be at least {least}")

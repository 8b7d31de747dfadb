"""Numbers as a page writes them."""

from __future__ import annotations


def plain(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def pixels(value: float) -> str:
    """A number of pixels, without a comma as people write it."""
    return f"{value:.0f}"


def shown(value: float) -> str:
    """Three digits that matter, without a power of ten where a few zeros do."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        return text
    return f"{value:.2e}"


def human_bytes(value: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.3g} {unit}"


def duration(seconds: float) -> str:
    """A time that people read: 12.3 s, 4 min 05 s, 3 h 20 min."""
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def share(part: float) -> str:
    """A share of one, in per cent; a little is never told as nothing."""
    if 0 < part < 0.0001:
        return "< 0.01 %"
    return f"{part:.1%}".replace("%", " %") if part >= 0.1 else f"{part:.2%}".replace("%", " %")

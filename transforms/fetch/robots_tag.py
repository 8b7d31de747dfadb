"""Reading ``X-Robots-Tag``: whether the answer that carries an image opts it out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

# Directives with a value look like an agent's prefix but are none; the list is Google's published one.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_AGENT = re.compile(r"[A-Za-z0-9_*.+-]*[A-Za-z*][A-Za-z0-9_*.+-]*")


def opted_out(lines: Iterable[str], agent: str, directives: Collection[str]) -> str | None:
    """The directive that opts out, or None; ``lines`` are the values of every X-Robots-Tag header of one answer.

    ``otherbot: noai, noindex`` names the agent for the rest of its line: it concerns that agent alone. A line without a
    name, or with ``*`` or our own name, concerns us.
    """
    for line in lines:
        concerned = True
        for token in re.split("[,;]", line):
            prefix, colon, rest = token.partition(":")
            name = prefix.strip().lower()
            directive = token.strip().lower()
            if colon and name in _VALUED:
                continue
            if colon and _AGENT.fullmatch(name):
                concerned = name in {agent, "*"}
                directive = rest.strip().lower()
            if concerned and directive in directives:
                return directive
    return None

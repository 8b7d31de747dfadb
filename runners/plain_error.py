"""What ends a run, as one line: errors cross Beam as text, with tracebacks of several processes and languages."""

from __future__ import annotations

import re

from pairmill.sharding.errors import PairmillError

_WHERE = re.compile(r"^(.*?) \[while running '([^']*)'\]$", re.DOTALL)
#: Errors whose text is written for people, and says what to do.
_PLAIN = ("PairmillError", "UsageError", "ManifestError", "PoolError", "FetchAborted")
_RAISED = re.compile(r"^(?:[a-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Aborted|Refused)): (.*)$", re.MULTILINE)


def told_plainly(error: BaseException, build: str) -> PairmillError:
    """The line that matters of an exception which crossed Beam, where a worker's traceback may arrive as text."""
    # A KeyError tells its text as code, in quotes.
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    text, kind = str(told).strip(), type(error).__name__
    raised = _RAISED.findall(text)
    if raised:
        kind, text = raised[-1]
    where = _WHERE.match(text)
    if where:
        text = where[1]
    text = text.strip().partition("\n")[0]
    if kind in _PLAIN:
        return PairmillError(text)
    if isinstance(error, OSError) or kind in ("OSError", "PermissionError", "FileNotFoundError"):
        return PairmillError(f"{text}; mend that and run the same command again: finished blocks are kept")
    step = f" in step {where[2].split('/')[-1]!r}" if where else ""
    return PairmillError(f"{kind}{step}: {text} (the whole traceback is in {build}/error.txt)")

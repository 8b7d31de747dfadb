"""What ends a run, as one line: errors cross Beam as text, with tracebacks of several processes and languages."""

from __future__ import annotations

import re

from pairmill.sharding.errors import PairmillError

_WHERE = re.compile(r"^(.*?) \[while running '([^']*)'\]$", re.DOTALL)
#: Errors whose text is written for people, and says what to do.
_PLAIN = ("PairmillError", "UsageError", "StoreError", "ManifestError", "PoolError", "FetchAborted")
_RAISED = re.compile(r"^(?:[a-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|Aborted|Refused)): (.*)$", re.MULTILINE)


def told_plainly(error: BaseException, build: str) -> PairmillError:
    """The line that matters of an exception which crossed Beam, where a worker's traceback may arrive as text."""
    # A KeyError tells its text as code, in quotes.
    told = error.args[0] if isinstance(error, KeyError) and error.args else error
    kind, text = raised_in(str(told)) or (type(error).__name__, str(told).strip())
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


def raised_in(text: str) -> tuple[str, str] | None:
    """Kind and text of the error that tracebacks tell: the last that is written for people, else the last."""
    raised = _RAISED.findall(text.strip())
    if not raised:
        return None
    return next((found for found in reversed(raised) if found[0] in _PLAIN), raised[-1])


def is_plain(text: str) -> bool:
    """Whether a text of tracebacks has an error that is written for people."""
    raised = raised_in(text)
    return raised is not None and raised[0] in _PLAIN

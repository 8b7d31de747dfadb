"""``python -m pairmill.runners.with_parent COMMAND …``: becomes the command, and ends with the process that began it.

It is no command for people. Beam's job server is a Java program that would outlive a killed run for ever.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command of the arguments; on Linux with a signal that the system sends when the parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # A terminal's Ctrl-C reaches the whole group: the parent decides what that means for its child.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()

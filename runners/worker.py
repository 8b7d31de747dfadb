"""One worker process of a local run: Beam's SDK worker, quiet, and gone when its run is gone.

Started by the runner as ``python -m pairmill.runners.worker``; no command for people.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time

#: The variable that names the process which the worker works for: its parent.
DRIVER_PID = "PAIRMILL_DRIVER_PID"
POLL_S = 1.0


def leave_with(driver: int) -> None:
    """End this process when its parent is no more: a killed run must not go on fetching."""
    while os.getppid() == driver:
        time.sleep(POLL_S)
    os._exit(1)


def main() -> None:
    """Serve Beam until the run ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the driver too, which ends its workers
    driver = os.environ.get(DRIVER_PID)
    if driver:
        threading.Thread(target=leave_with, args=(int(driver),), name="pairmill-driver-watch", daemon=True).start()
    # Beam logs its own coming and going; what a step raises reaches the driver as the run's error.
    logging.disable(logging.CRITICAL)
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()

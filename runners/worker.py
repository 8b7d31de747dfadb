"""One worker process of a local run: Beam's SDK worker, quiet, and gone when its run is gone.

``python -m pairmill.runners.worker`` is no command for people. It loads what the steps need, side by side with the
process that started it, and then waits on its stdin to be told whom to serve.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from pairmill.runners.quick_beam import quick_beam

#: The variable that names the process which the worker works for: its parent.
DRIVER_PID = "PAIRMILL_DRIVER_PID"
POLL_S = 1.0


def leave_with(driver: int) -> None:
    """End this process when its parent is no more: a killed run must not go on fetching."""
    while os.getppid() == driver:
        time.sleep(POLL_S)
    os._exit(1)


def start_worker() -> subprocess.Popen[bytes]:
    """A new worker process; what it complains of must be read from its stderr, or it waits until somebody does."""
    command = [sys.executable, "-m", "pairmill.runners.worker"]
    environment = {**os.environ, DRIVER_PID: str(os.getpid())}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def employ(worker: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    """Tell a worker whom to serve, in variables of Beam. One that has died is not told: its exit code says so."""
    assert worker.stdin is not None
    with suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(environment).encode() + b"\n")
        worker.stdin.close()


def dismiss(workers: Iterable[subprocess.Popen[bytes]]) -> None:
    """End those that have not left by themselves."""
    for worker in workers:
        worker.kill()
        worker.wait()


def main() -> None:
    """Serve Beam until the run ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the driver too, which ends its workers
    driver = os.environ.get(DRIVER_PID)
    if driver:
        threading.Thread(target=leave_with, args=(int(driver),), name="pairmill-driver-watch", daemon=True).start()
    # Beam logs its own coming and going; what a step raises reaches the driver as the run's error.
    logging.disable(logging.CRITICAL)
    with quick_beam():
        from apache_beam.runners.worker import sdk_worker_main
    import pairmill.transforms.wiring.build_dataset  # noqa: F401  (otherwise loaded with the first step, which one worker gets first)

    gc.freeze()  # what was loaded stays: no collection need look at it again
    told = sys.stdin.readline()
    if told:
        os.environ.update(json.loads(told))
        sdk_worker_main.main(sys.argv)
    os._exit(0)  # nothing is open; taking the interpreter apart takes as long as half the start


if __name__ == "__main__":
    main()

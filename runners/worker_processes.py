"""The worker processes of a local run, watched: one that dies ends the run, where Beam would wait for it for ever.

Beam starts a worker through a shell and waits for its answers; that it was killed (by the kernel, for lack of memory,
most often) goes unnoticed. Here workers are children of this process, and once one has died every request to any of
them, sent or yet to be sent, is answered with the error that says so.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from google.protobuf import json_format, text_format

from pairmill.runners.worker import employ, start_worker

#: Between two looks for requests to answer in a dead worker's place.
ANSWER_S = 0.2
#: A connection breaks a moment before its process is known to be dead.
DYING_S = 1.0
#: So long an idle worker may take to leave at the end of a run.
LEAVE_S = 20.0


@contextmanager
def watched_workers(started: Sequence[subprocess.Popen[bytes]] = ()) -> Iterator[Crew]:
    """Have Beam start the worker processes of the runs inside the block watched, and quiet when they are lost.

    ``started`` are processes that ``start_worker`` has made beforehand; they are employed first.
    """
    crew = Crew(started)
    said = threading.excepthook
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(partial(WatchedWorker, crew))
    # Beam's threads end with a traceback each when a connection breaks; what broke it is told in one line.
    threading.excepthook = lambda arguments: said(arguments) if _is_ours(arguments.thread) else None
    try:
        yield crew
    finally:
        threading.excepthook = said


class Crew:
    """The workers of one run: they fall together. ``loss`` is one line once a worker has died, else empty."""

    def __init__(self, started: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        self.loss = ""
        self._lock = threading.Lock()
        self._waiting = deque(started)
        self._processes: list[subprocess.Popen[bytes]] = []

    def employ(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Put one more worker to work; ``environment`` tells it whom to serve."""
        with self._lock:
            process = self._waiting.popleft() if self._waiting else start_worker()
            self._processes.append(process)
        employ(process, environment)
        return process

    def lost(self, exit_code: int, last_words: str) -> None:
        """One has died: note the first, and end the others, whose work nobody will use."""
        with self._lock:
            self.loss = self.loss or told_loss(exit_code, last_words)
            for process in self._processes:
                process.kill()


class WatchedWorker(GrpcWorkerHandler):
    """Beam's handle on one worker process, which notices when that process ends before its time."""

    def __init__(self, crew: Crew, command: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._crew = crew
        self._closing = threading.Event()
        self._gone = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def start_worker(self) -> None:
        """Start the process and the thread that waits for its end."""
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        environment = {
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "PIPELINE_OPTIONS": json_format.MessageToJson(self.provision_info.provision_info.pipeline_options),
            "WORKER_ID": self.worker_id,
        }
        self._process = self._crew.employ(environment)
        threading.Thread(target=self._watch, args=(self._process,), name="pairmill-worker-watch", daemon=True).start()

    def close(self) -> None:
        """Let the process leave; one that is still at work is ended, since the run failed or was stopped."""
        if self._process is not None and self._pending() and not self._gone.wait(DYING_S):
            self._closing.set()
            self._process.kill()
        self._closing.set()
        super().close()

    def stop_worker(self) -> None:
        """Wait until the process has left."""
        if self._process is not None and not self._gone.wait(LEAVE_S):
            self._process.kill()
            self._gone.wait()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        # A worker that cannot write its complaints never answers, so they are always read.
        words = deque(process.stderr, maxlen=20)
        exit_code = process.wait()
        if not self._closing.is_set():
            last = [word for line in words if (word := line.decode(errors="replace").strip())]
            self._crew.lost(exit_code, last[-1] if last else "")
        self._gone.set()
        while not self._closing.wait(ANSWER_S):
            for future in self._pending():
                lost = beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error=self._crew.loss)
                future.set(lost)

    def _pending(self) -> list[Any]:
        """Requests without an answer. Beam's own ``abort`` leaves the one who waits for data waiting."""
        waiting = self.control_conn._futures_by_id
        return [future for future in list(waiting.values()) if not future.is_done()]


def told_loss(exit_code: int, last_words: str = "") -> str:
    """One line on a worker that ended too early; ``last_words`` is what it wrote to stderr last."""
    how = f"ended with exit code {exit_code}" + (f" ({last_words})" if last_words else "")
    if exit_code < 0:
        with suppress(ValueError):
            how = f"was killed by {signal.Signals(-exit_code).name}"
    why = (
        " (the system does so when memory runs out; fewer --workers need less)" if exit_code == -signal.SIGKILL else ""
    )
    return f"a worker process {how}{why}; run the same command again: finished blocks are kept"


def _is_ours(thread: threading.Thread | None) -> bool:
    return thread is not None and thread.name.startswith("pairmill")

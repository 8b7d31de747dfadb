"""The worker processes of a local run, watched: one that dies ends the run, where Beam would wait for it for ever.

Beam starts a worker through a shell and waits for its answers; that it was killed (by the kernel, for lack of memory,
most often) goes unnoticed. Here workers are children of this process, and once one has died every request to any of
them, sent or yet to be sent, is answered with the error that says so.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from contextlib import suppress
from functools import partial
from typing import Any

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import GrpcWorkerHandler, WorkerHandler
from google.protobuf import json_format, text_format

from pairmill.runners.worker import DRIVER_PID

#: Between two looks for requests to answer in a dead worker's place.
ANSWER_S = 0.2
#: So long an idle worker may take to leave at the end of a run.
LEAVE_S = 20.0


def watch_workers() -> None:
    """Have the next run of this process start its worker processes watched."""
    WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(partial(WatchedWorker, Crew()))


class Crew:
    """The workers of one run: they fall together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._loss = ""

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        with self._lock:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
            self._processes.append(process)
            return process

    def lost(self, exit_code: int) -> str:
        """One has died: end the others, whose work nobody will use, and return what to tell of the first."""
        with self._lock:
            self._loss = self._loss or f"PairmillError: {told_loss(exit_code)}"
            for process in self._processes:
                process.kill()
            return self._loss


class WatchedWorker(GrpcWorkerHandler):
    """Beam's handle on one worker process, which notices when that process ends before its time."""

    def __init__(self, crew: Crew, command: bytes, state: Any, provision_info: Any, grpc_server: Any) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._crew = crew
        self._command = shlex.split(command.decode())
        self._closing = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def start_worker(self) -> None:
        """Start the process and the thread that waits for its end."""
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        environment = {
            **os.environ,
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "PIPELINE_OPTIONS": json_format.MessageToJson(self.provision_info.provision_info.pipeline_options),
            "WORKER_ID": self.worker_id,
            DRIVER_PID: str(os.getpid()),
        }
        self._process = self._crew.start(self._command, environment)
        threading.Thread(target=self._watch, name="pairmill-worker-watch", daemon=True).start()

    def close(self) -> None:
        """Let the process leave; one that is still at work is ended, since the run failed or was stopped."""
        self._closing.set()
        if self._pending() and self._process is not None:
            self._process.kill()
        super().close()

    def stop_worker(self) -> None:
        """Wait until the process has left."""
        if self._process is None:
            return
        try:
            self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _watch(self) -> None:
        assert self._process is not None
        exit_code = self._process.wait()
        if self._closing.is_set():
            return
        loss = self._crew.lost(exit_code)
        while not self._closing.wait(ANSWER_S):
            for future in self._pending():
                future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error=loss))

    def _pending(self) -> list[Any]:
        """Requests without an answer. Beam's own ``abort`` leaves the one who waits for data waiting."""
        waiting = self.control_conn._futures_by_id
        return [future for future in list(waiting.values()) if not future.is_done()]


def told_loss(exit_code: int) -> str:
    """One line on a worker that ended too early."""
    how = f"ended with exit code {exit_code}"
    if exit_code < 0:
        with suppress(ValueError):
            how = f"was killed by {signal.Signals(-exit_code).name}"
    why = " (the system does so when memory runs out; fewer --workers need less)" if exit_code == -signal.SIGKILL else ""
    return f"a worker process {how}{why}; run the same command again: finished blocks are kept"

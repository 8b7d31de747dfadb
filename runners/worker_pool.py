"""``pairmill worker-pool``: starts the workers of a cluster on its machine, out of the packages installed there.

Beam's own pool starts whatever ``python`` stands first in PATH, and says nothing when that one lacks Beam. This one
starts the Python that it runs on, with what the steps need loaded, and its workers leave when it is gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.worker import employ, start_worker
from pairmill.sharding.errors import UsageError

with quick_beam():
    import grpc
    from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
    from google.protobuf import text_format

#: Requests that are answered at the same time; one that ends a worker waits for its end.
ANSWERING = 8
#: So long a worker may take to leave.
LEAVE_S = 10.0


class WorkerPool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """Beam's service of workers, whose workers are processes of ``pairmill.runners.worker``.

    One is always loaded and idle, since a worker takes seconds to load.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        self._idle = _start_heard()

    def StartWorker(self, request: Any, unused_context: Any) -> Any:
        """Put one worker to work for the control endpoint of the request."""
        try:
            with self._lock:
                process, self._idle = self._idle, _start_heard()
                self._workers[request.worker_id] = process
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the worker pool can start no worker: {error}")
        if process.poll() is not None:
            told = f"a worker of the pool ended at its start, with exit code {process.returncode}: see the pool's log"
            return beam_fn_api_pb2.StartWorkerResponse(error=told)
        employ(
            process,
            {
                "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(request.control_endpoint),
                "WORKER_ID": request.worker_id,
                "PIPELINE_OPTIONS": '{"default_sdk_harness_log_level": "CRITICAL"}',
            },
        )
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request: Any, unused_context: Any) -> Any:
        """End a worker that is needed no more."""
        with self._lock:
            process = self._workers.pop(request.worker_id, None)
        if process is not None:
            _end([process])
        return beam_fn_api_pb2.StopWorkerResponse()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            workers, self._workers = [*self._workers.values(), self._idle], {}
        _end(workers)


def _end(workers: list[subprocess.Popen[bytes]]) -> None:
    for process in workers:
        process.terminate()
    for process in workers:
        try:
            process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve_workers(port: int, port_file: Path | None = None, host: str = "[::]") -> int:
    """Serve at ``host`` until the process is told to end; ``port`` 0 takes a free one, which ``port_file`` is told.

    Raises UsageError where nothing can listen there.
    """
    pool = WorkerPool()
    # The task manager's side pings more often than gRPC permits by default. Two pools at one port would share requests.
    options = [("grpc.http2.max_pings_without_data", 0), ("grpc.http2.max_ping_strikes", 0), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(ANSWERING), options=options)
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    try:
        taken = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        pool.close()
        raise UsageError(f"--port {port}: it is taken at {host}, or {host} is not this machine's") from error
    server.start()
    if port_file is not None:
        attempt = port_file.with_name(f"{port_file.name}.tmp")
        attempt.write_text(str(taken))
        attempt.replace(port_file)
    print(f"pairmill worker pool: port {taken}, process {os.getpid()}", flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    server.stop(0)
    pool.close()
    return 0


def _start_heard() -> subprocess.Popen[bytes]:
    process = start_worker()
    threading.Thread(target=_pass_on, args=(process,), name="pairmill-worker-words", daemon=True).start()
    return process


def _pass_on(process: subprocess.Popen[bytes]) -> None:
    """A worker that cannot write its complaints never answers: they go to the pool's stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    exit_code = process.wait()
    if exit_code not in (0, -signal.SIGTERM):
        print(f"pairmill worker pool: worker {process.pid} ended with {exit_code}", file=sys.stderr, flush=True)

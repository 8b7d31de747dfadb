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
from pathlib import Path
from typing import Any

from pairmill.runners.quick_beam import quick_beam
from pairmill.runners.worker import employ, start_worker
from pairmill.sharding.errors import UsageError

with quick_beam():
    from apache_beam.portability.api import beam_fn_api_pb2
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
    from google.protobuf import text_format


class WorkerPool(BeamFnExternalWorkerPoolServicer):
    """Beam's service of workers, whose workers are processes of ``pairmill.runners.worker``."""

    def StartWorker(self, request: Any, unused_context: Any) -> Any:
        """Start one worker that serves the control endpoint of the request."""
        try:
            process = start_worker()
        except OSError as error:
            return beam_fn_api_pb2.StartWorkerResponse(error=f"the worker pool can start no worker: {error}")
        self._worker_processes[request.worker_id] = process
        threading.Thread(target=_pass_on, args=(process,), name="pairmill-worker-words", daemon=True).start()
        employ(
            process,
            {
                "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(request.control_endpoint),
                "WORKER_ID": request.worker_id,
                "PIPELINE_OPTIONS": '{"default_sdk_harness_log_level": "CRITICAL"}',
            },
        )
        return beam_fn_api_pb2.StartWorkerResponse()


def serve_workers(port: int, port_file: Path | None = None) -> int:
    """Serve until the process is told to end; ``port`` 0 takes a free one, which ``port_file`` is then told.

    Raises UsageError where the port is taken.
    """
    try:
        address, server = WorkerPool.start(use_process=True, port=port)
    except RuntimeError as error:
        raise UsageError(f"--port {port}: it is taken; choose another") from error
    taken = int(address.rpartition(":")[2])
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
    return 0


def _pass_on(process: subprocess.Popen[bytes]) -> None:
    """A worker that cannot write its complaints never answers: they go to the pool's stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    exit_code = process.wait()
    if exit_code not in (0, -signal.SIGTERM):
        print(f"pairmill worker pool: worker {process.pid} ended with {exit_code}", file=sys.stderr, flush=True)

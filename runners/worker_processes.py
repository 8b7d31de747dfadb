"""The worker processes of a local run, watched: one that dies ends the run instead of leaving it to wait for ever.

Beam starts workers as subprocesses and waits for their answers; that a worker was killed (most often by the kernel, for
lack of memory) it does not notice. Here every request to a dead worker, sent or yet to be sent, is answered with an error.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
from contextlib import suppress

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, endpoints_pb2
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    GrpcWorkerHandler,
    WorkerHandler,
)
from apache_beam.utils.proto_utils import struct_pb2  # noqa: F401

"""One process for each GPU holds its models, and the workers of the machine send it their batches.

So a model lies on a GPU once, whatever the number of workers, and their kernels do not push each other off it. Workers
read, decode and prepare pictures, which takes most of the processor's time; what they send is small 8-bit pictures,
over a Unix socket that only this user can open.

The first worker that needs a model starts the server; it leaves some seconds after its last worker.

A message is its size in eight bytes, a pickled header, and the bytes of the arrays that the header tells of.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pairmill.sharding.errors import PairmillError
from pairmill.transforms.score.device import pinned_zeros
from pairmill.transforms.score.models import get_model, model_key
from pairmill.transforms.score.scorer import Loaded, Measures, Scorer

#: How long the server waits for another worker once it has none.
LINGER_S = 5.0
#: How long a worker waits for the server to answer its first call: Python and torch are to be loaded.
START_S = 120.0

Arrays = Mapping[str, npt.NDArray[Any]]


class ServerModel:
    """A model in the server's process. What needs no weights, such as ``prepare``, is done here."""

    def __init__(self, scorer: Scorer, server: ModelServer, precision: str) -> None:
        self.scorer = scorer
        #: Its networks are on torch's ``meta`` device: shapes without numbers.
        self.loaded: Loaded = scorer.load("meta", precision)
        self._server = server
        self._precision = precision
        server.call({"load": (scorer, precision)}, {})

    @property
    def pins(self) -> bool:
        """The server does it."""
        return False

    def run(self, method: str, batch: Any, pad: bool = True) -> tuple[Measures, float]:
        """As ``Model`` says. Raises PairmillError where the server is gone."""
        call: dict[str, Any] = {"run": (self.scorer, self._precision), "method": method, "pad": pad}
        if isinstance(batch, np.ndarray):
            told, arrays = self._server.call(call, {"batch": np.ascontiguousarray(batch)})
        else:
            told, arrays = self._server.call({**call, "batch": batch}, {})
        return arrays, told["busy_s"]


class ModelServer:
    """The way to the server of one device; a connection for each thread that calls."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._device = device
        self._connections = threading.local()
        self._models: dict[tuple[str, str, str], ServerModel] = {}
        self._lock = threading.Lock()

    def get_model(self, scorer: Scorer, precision: str) -> ServerModel:
        """The model of a scorer; the server loads it where it has not yet. Raises ValueError as ``Scorer.load``."""
        with self._lock:
            key = model_key(scorer, self._device, precision)
            if key not in self._models:
                self._models[key] = ServerModel(scorer, self, precision)
            return self._models[key]

    def call(self, header: dict[str, Any], arrays: Arrays) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """Send a message and wait for its answer; raises what the server says went wrong."""
        if not hasattr(self._connections, "socket"):
            self._connections.socket = self._connected()
        try:
            send(self._connections.socket, header, arrays)
            told, found = receive(self._connections.socket)
        except (OSError, EOFError):
            del self._connections.socket
            raise PairmillError(
                f"the process that holds the models on {self._device} is gone (the system ends one when memory runs "
                "out); run the same command again: what was measured is kept"
            ) from None
        if "error" in told:
            raise {"ValueError": ValueError, "PairmillError": PairmillError}.get(told["kind"], RuntimeError)(
                told["error"]
            )
        return told, found

    def _connected(self) -> socket.socket:
        """A connection to the server, which is started where there is none."""
        place = self._folder / f"{self._device.replace(':', '-')}.sock"
        _make_folder(self._folder)
        with suppress(OSError):
            return _connect(place)
        with open(place.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one worker starts it, the others then find it
            with suppress(OSError):
                return _connect(place)
            _make_folder(self._folder)  # a server that left may have removed it meanwhile
            place.unlink(missing_ok=True)
            return self._started(place)

    def _started(self, place: Path) -> socket.socket:
        log = place.with_suffix(".log")
        command = [sys.executable, "-m", "pairmill.transforms.score.model_server", str(place), self._device]
        with log.open("wb") as words:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words)
        give_up = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < give_up:
            with suppress(OSError):
                return _connect(place)
            time.sleep(0.05)
        with suppress(OSError):  # of another worker, which began at the same moment
            return _connect(place)
        process.kill()
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise PairmillError(f"the process for the models on {self._device} did not start: {' '.join(last)}")


_servers: dict[tuple[Path, str], ModelServer] = {}
_servers_lock = threading.Lock()


def get_server(device: str) -> ModelServer:
    """The way to the server of a device from this process."""
    with _servers_lock:
        key = server_folder(), device
        if key not in _servers:
            _servers[key] = ModelServer(*key)
        return _servers[key]


def server_folder() -> Path:
    """Where the sockets lie: a folder of this user and of the processes with the same parent, on this machine."""
    return Path(tempfile.gettempdir()) / f"pairmill-{os.getuid()}-{os.getppid()}"


def serve(place: Path, device: str) -> None:
    """Answer calls at a socket until there has been no connection for ``LINGER_S``."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(place))
    listener.listen(64)
    listener.settimeout(LINGER_S / 5)
    threads: list[threading.Thread] = []
    idle_since = time.monotonic()
    while threads or time.monotonic() - idle_since < LINGER_S:
        with suppress(TimeoutError):
            connection, _ = listener.accept()
            threads.append(threading.Thread(target=_answer, args=(connection, device), daemon=True))
            threads[-1].start()
        if threads:
            idle_since = time.monotonic()
        threads = [thread for thread in threads if thread.is_alive()]
    listener.close()
    _tidy(place)


def _tidy(place: Path) -> None:
    """Leave nothing behind, unless a worker is just about to start another server."""
    lock = place.with_suffix(".lock")
    with suppress(OSError), open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in (place, place.with_suffix(".log"), lock):
            path.unlink(missing_ok=True)
        place.parent.rmdir()


def _answer(connection: socket.socket, device: str) -> None:
    """Answer the calls of one thread of one worker."""
    buffers: dict[str, npt.NDArray[Any]] = {}
    with connection, suppress(OSError, EOFError):
        while True:
            header, arrays = receive(connection, buffers, pinned=device != "cpu")
            try:
                told, found = _done(header, arrays, device)
            except Exception as error:
                known = isinstance(error, (ValueError, PairmillError))
                words = str(error) if known else traceback.format_exc()
                kind = "PairmillError" if isinstance(error, PairmillError) else type(error).__name__
                told, found = {"error": words, "kind": kind}, {}
            send(connection, told, found)


def _done(header: dict[str, Any], arrays: dict[str, Any], device: str) -> tuple[dict[str, Any], Measures]:
    if "load" in header:
        get_model(header["load"][0], device, header["load"][1])
        return {}, {}
    scorer, precision = header["run"]
    batch = arrays["batch"] if arrays else header["batch"]
    measures, busy_s = get_model(scorer, device, precision).run(header["method"], batch, header["pad"])
    return {"busy_s": busy_s}, measures


def send(connection: socket.socket, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Write one message."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    words = pickle.dumps((dict(header), shapes), protocol=pickle.HIGHEST_PROTOCOL)
    connection.sendall(struct.pack("<Q", len(words)) + words)
    for array in arrays.values():
        if array.nbytes:
            connection.sendall(array.data.cast("B"))


def receive(
    connection: socket.socket, buffers: dict[str, npt.NDArray[Any]] | None = None, pinned: bool = False
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read one message; its arrays into ``buffers`` of the same shape where there are any, to be used again.

    Raises EOFError where the other side has closed the connection.
    """
    (size,) = struct.unpack("<Q", _read(connection, bytearray(8)))
    header, shapes = pickle.loads(_read(connection, bytearray(size)))
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, dtype, shape in shapes:
        array = (buffers or {}).get(name)
        if array is None or (array.dtype.str, array.shape) != (dtype, shape):
            array = pinned_zeros(shape, dtype) if pinned else np.empty(shape, dtype)
        if buffers is not None:
            buffers[name] = array
        if array.nbytes:
            _read(connection, array.data.cast("B"))
        arrays[name] = array
    return header, arrays


def _read(connection: socket.socket, buffer: Any) -> Any:
    """Fill the buffer."""
    view, place = memoryview(buffer), 0
    while place < len(view):
        count = connection.recv_into(view[place:])
        if not count:
            raise EOFError
        place += count
    return buffer


def _make_folder(folder: Path) -> None:
    """A folder that nobody else can open: who could put a socket there would be believed."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = os.lstat(folder)
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise PairmillError(f"{folder} is no folder of this user alone; remove it, or set TMPDIR")


def _connect(place: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(place))
    except OSError:
        connection.close()
        raise
    return connection


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2])

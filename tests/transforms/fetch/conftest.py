"""A web server on loopback that misbehaves in every way a test asks for."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import pytest

Handler = Callable[[asyncio.StreamWriter, dict[str, str]], Awaitable[None]]

IMAGE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8


class RudeServer:
    """Serves what ``pages`` says: bytes to send, a list of such (one a request, the last repeats), or a coroutine.

    A fixed answer is followed by keep-alive unless it has no Content-Length; ``hits`` counts requests by path.
    """

    image = IMAGE

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.pages: dict[str, bytes | list[bytes] | Handler] = {}
        self.hits: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self.connections = 0
        self.open_now: Counter[str] = Counter()
        self.most_open: Counter[str] = Counter()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        self._ready.wait()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, path: str, host: str | None = None) -> str:
        return f"http://{host or '127.0.0.1'}:{self.port}{path}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1"):
                request, *lines = head.rstrip().split("\r\n")
                path = request.split(" ")[1]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self.hits[path] += 1
                self.headers[path] = headers
                if not await self._serve(path, writer, headers):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _serve(self, path: str, writer: asyncio.StreamWriter, headers: dict[str, str]) -> bool:
        page = self.pages.get(path, self.answer("404 Not Found", b"gone"))
        if isinstance(page, list):
            page = page[min(self.hits[path], len(page)) - 1]
        host = headers.get("host", "")
        self.open_now[host] += 1
        self.most_open[host] = max(self.most_open[host], self.open_now[host])
        try:
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
                return b"content-length" in page.split(b"\r\n\r\n")[0].lower()
            await page(writer, headers)
            return False
        finally:
            self.open_now[host] -= 1

    @staticmethod
    def answer(status: str = "200 OK", body: bytes = IMAGE, *headers: str, length: bool = True) -> bytes:
        lines = [f"HTTP/1.1 {status}", *headers]
        if length:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    @staticmethod
    async def hang(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        """Never answer."""
        await asyncio.sleep(3600)

    @staticmethod
    async def drip(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        """Answer at once, then a byte now and then, without end."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"\xff")
            await writer.drain()
            await asyncio.sleep(0.05)

    @staticmethod
    async def drip_head(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        """Send a header letter by letter, without end."""
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.05)

    @staticmethod
    async def endless(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        """A body without length and without end."""
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"\xff" * 65536)
            await writer.drain()

    @staticmethod
    async def reset(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        """Break the connection in the middle of the body."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + IMAGE)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    @staticmethod
    def gzip_bomb(unpacked: int) -> bytes:
        return RudeServer.answer("200 OK", gzip.compress(bytes(unpacked)), "Content-Encoding: gzip")


@pytest.fixture
def start_server() -> Iterator[Callable[..., RudeServer]]:
    started: list[RudeServer] = []

    def start(tls: ssl.SSLContext | None = None) -> RudeServer:
        started.append(RudeServer(tls))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., RudeServer]) -> RudeServer:
    return start_server()

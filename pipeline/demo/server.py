"""A web server on loopback that serves a folder and pictures drawn on request, and misbehaves when asked to.

``/PATH`` is the file; ``/drawn/SEED/FORM/NUMBER.jpg`` is drawn when it is asked for (see ``forms.py``), so that a pool
of ten million pictures needs no disk. What comes below ``/odd/`` is the same file served in a troubled way:

| path | answer |
|---|---|
| ``/odd/status/CODE/PATH`` | always that status |
| ``/odd/once/CODE/PATH`` | that status to the first request of this path, then the file |
| ``/odd/robots/TAG/PATH`` | the file with ``X-Robots-Tag: TAG`` |
| ``/odd/html/PATH`` | a web page with status 200 |
| ``/odd/hops/N/PATH`` | N redirects (at most 9), then the file |
| ``/odd/loop/PATH`` | a redirect to itself |
| ``/odd/drip/PATH`` | one byte every fifth of a second, without end |
| ``/odd/stall/PATH`` | nothing at all, not even a status |
| ``/odd/cut/PATH`` | half of the file, then the connection is closed |
| ``/odd/endless/PATH`` | the file and then noise, 64 MiB in all, of undeclared length |
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from aiohttp import web

from pairmill.pipeline.demo.forms import picture_at

HTML_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Sorry</title></head><body><p>This picture has moved.</p></body></html>\n"
)
ENDLESS_BYTES = 64 << 20
_DRIP_SECONDS = 0.2
_STALL_SECONDS = 3600.0
_DRAWN = "drawn/"
_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_CHUNK = b"\x00" * 65536

_ROOT = web.AppKey("root", Path)
_SEEN = web.AppKey("seen", set[str])


@contextmanager
def serve_folder(folder: Path, port: int = 0) -> Iterator[str]:
    """Serves ``folder`` on 127.0.0.1 from a thread while the context is open; yields ``http://127.0.0.1:PORT``.

    Port 0 takes any free one. Raises OSError when the port is taken and NotADirectoryError when there is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"no folder to serve at {folder}")
    loop = asyncio.new_event_loop()
    runner = loop.run_until_complete(_start(_application(folder), loop, port))
    thread = threading.Thread(target=loop.run_forever, name="demo-server", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(app: web.Application, loop: asyncio.AbstractEventLoop, port: int) -> web.AppRunner:
    # A dripping answer never ends by itself: no grace for it at the end.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


def _application(folder: Path) -> web.Application:
    app = web.Application()
    app[_ROOT] = folder
    app[_SEEN] = set()
    app.add_routes(
        [
            web.get("/odd/status/{code:[45][0-9][0-9]}/{path:.+}", _status),
            web.get("/odd/once/{code:[45][0-9][0-9]}/{path:.+}", _once),
            web.get("/odd/robots/{tag:[a-z]+}/{path:.+}", _robots),
            web.get("/odd/html/{path:.+}", _html),
            web.get("/odd/hops/{left:[1-9]}/{path:.+}", _hops),
            web.get("/odd/loop/{path:.+}", _loop),
            web.get("/odd/drip/{path:.+}", _drip),
            web.get("/odd/stall/{path:.+}", _stall),
            web.get("/odd/cut/{path:.+}", _cut),
            web.get("/odd/endless/{path:.+}", _endless),
            web.get("/{path:.+}", _file),
        ]
    )
    return app


def _local_path(request: web.Request) -> Path:
    """The file that a request names; a link inside the folder may lead out of it, a path of the request may not."""
    asked = PurePosixPath(request.match_info["path"])
    path = request.app[_ROOT] / asked
    if asked.is_absolute() or ".." in asked.parts or not path.is_file():
        raise web.HTTPNotFound
    return path


async def _content(request: web.Request) -> bytes | Path:
    """The bytes of a drawn picture, or the file that lies there. Drawing takes milliseconds: others go on meanwhile."""
    path = request.match_info["path"]
    if not path.startswith(_DRAWN):
        return _local_path(request)
    drawn = await asyncio.to_thread(picture_at, path)
    if drawn is None:
        raise web.HTTPNotFound
    return drawn


async def _body(request: web.Request) -> bytes:
    content = await _content(request)
    return content if isinstance(content, bytes) else content.read_bytes()


async def _answer(request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
    content = await _content(request)
    if isinstance(content, Path):
        return web.FileResponse(content, headers=headers)
    kind = _TYPES[PurePosixPath(request.path).suffix]
    return web.Response(body=content, content_type=kind, headers=headers)


async def _file(request: web.Request) -> web.StreamResponse:
    return await _answer(request, {})


async def _status(request: web.Request) -> web.StreamResponse:
    return web.Response(status=int(request.match_info["code"]), text="no\n")


async def _once(request: web.Request) -> web.StreamResponse:
    if request.path in request.app[_SEEN]:
        return await _file(request)
    request.app[_SEEN].add(request.path)
    return web.Response(status=int(request.match_info["code"]), headers={"Retry-After": "0"}, text="later\n")


async def _robots(request: web.Request) -> web.StreamResponse:
    return await _answer(request, {"X-Robots-Tag": request.match_info["tag"]})


async def _html(request: web.Request) -> web.StreamResponse:
    return web.Response(body=HTML_PAGE, content_type="text/html")


async def _hops(request: web.Request) -> web.StreamResponse:
    left, path = int(request.match_info["left"]) - 1, request.match_info["path"]
    raise web.HTTPFound(f"/odd/hops/{left}/{path}" if left else f"/{path}")


async def _loop(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(request.path)


async def _drip(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    answer = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    await answer.prepare(request)
    for number in range(1 << 30):
        await answer.write(body[number % len(body) :][:1])
        await asyncio.sleep(_DRIP_SECONDS)
    return answer


async def _stall(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(_STALL_SECONDS)
    return await _file(request)


async def _cut(request: web.Request) -> web.StreamResponse:
    body = await _body(request)
    answer = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    answer.content_length = len(body)
    await answer.prepare(request)
    await answer.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return answer


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "image/jpeg"})
    await answer.prepare(request)
    body = await _body(request)
    await answer.write(body)
    for _ in range((ENDLESS_BYTES - len(body)) // len(_CHUNK)):
        await answer.write(_CHUNK)
    return answer

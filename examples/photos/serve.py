"""Serves the photograph pool on loopback with nginx, and with a small companion for what nginx cannot do.

As a program:  python serve.py FOLDER --port 8765      (until Ctrl-C)
In a test:     with serve(folder) as base_url: ...

``FOLDER/www`` is what is served; everything that nginx writes (configuration, pid, logs, temporary files) lies in
``FOLDER/nginx``, so that it runs for any user beside any other nginx. ``/odd/…`` means what it means to
``pairmill.pipeline.demo.server``: the companion answers what is not configured here.
"""

from __future__ import annotations

import argparse
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pairmill.pipeline.demo.faults import OPT_OUT_TAGS
from pairmill.pipeline.demo.server import HTML_PAGE, serve_folder

STATUSES = (400, 403, 404, 410, 429, 451, 500, 503)
_HOPS = 9
_START_SECONDS = 10.0
_ATTEMPTS = 5

_CONFIG = """\
# Written by serve.py.
{user}daemon off;
worker_processes 1;
error_log {home}/error.log warn;
pid {home}/nginx.pid;
events {{ worker_connections 2048; }}
http {{
    types {{
        image/jpeg jpg jpeg;
        image/png png;
        image/gif gif;
        image/webp webp;
        text/html html;
    }}
    default_type application/octet-stream;
    access_log {home}/access.log;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    sendfile on;
    keepalive_requests 100000;
    absolute_redirect off;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root "{root}";
        location / {{ }}
        location = /odd/who {{ default_type text/plain; return 200 {token}; }}
{odd}
        location /odd/ {{
            proxy_pass http://127.0.0.1:{companion};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_next_upstream off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"""


class NginxError(RuntimeError):
    """nginx is not here, or does not start."""


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[str]:
    """Serves ``folder/www`` while the context is open; yields ``http://127.0.0.1:PORT`` (port 0: any free one).

    Raises NginxError with one line where nginx is missing or does not start.
    """
    nginx = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise NginxError("nginx is not on this machine; install it (Debian: apt-get install nginx-light)")
    with serve_folder(folder / "www") as companion_url:
        companion = int(companion_url.rsplit(":", 1)[1])
        process, port = _start(nginx, folder, port, companion)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _start(nginx: str, folder: Path, port: int, companion: int) -> tuple[subprocess.Popen[bytes], int]:
    """nginx, answering; a free port may be lost to another program before nginx has it, hence the attempts."""
    for _ in range(_ATTEMPTS):
        chosen = port or _free_port()
        token = secrets.token_hex(8)
        process = _launch(nginx, folder, chosen, companion, token)
        if _answers(process, chosen, token):
            return process, chosen
        process.kill()
        process.wait()
        if port:
            break
    lines = (folder / "nginx" / "error.log").read_text(errors="replace").splitlines()
    raise NginxError(f"nginx does not start on port {chosen}: {lines[-1] if lines else 'it says nothing'}")


def _launch(nginx: str, folder: Path, port: int, companion: int, token: str) -> subprocess.Popen[bytes]:
    home = (folder / "nginx").resolve()
    home.mkdir(exist_ok=True)
    config = home / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            # A root nginx would give its workers to a user who may not look into this folder.
            user="user root;\n" if os.geteuid() == 0 else "",
            home=home,
            root=(folder / "www").resolve(),
            port=port,
            companion=companion,
            token=token,
            odd=_odd_locations((folder / "www").resolve()),
        )
    )
    command = [nginx, "-p", str(home), "-e", str(home / "error.log"), "-c", str(config)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _odd_locations(root: Path) -> str:
    """What nginx itself can do of ``/odd/``: statuses, opt-out headers, pages, redirects."""
    lines = [f"location /odd/status/{code}/ {{ return {code}; }}" for code in STATUSES]
    for tag in (*OPT_OUT_TAGS, "nofollow"):
        lines.append(f'location /odd/robots/{tag}/ {{ alias "{root}/"; add_header X-Robots-Tag {tag}; }}')
    page = HTML_PAGE.decode().strip().replace("\n", "")
    lines.append(f"location /odd/html/ {{ default_type text/html; types {{ }} return 200 '{page}'; }}")
    for left in range(1, _HOPS + 1):
        target = f"/odd/hops/{left - 1}/$1" if left > 1 else "/$1"
        lines.append(f"location ~ ^/odd/hops/{left}/(.+)$ {{ return 302 {target}; }}")
    lines.append("location /odd/loop/ { return 302 $request_uri; }")
    return "\n".join(" " * 8 + line for line in lines)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(process: subprocess.Popen[bytes], port: int, token: str) -> bool:
    """Whether it is this nginx that answers on the port; one that finds the port taken ends after some seconds."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/odd/who")
            if connection.getresponse().read() == token.encode():
                return True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.02)
    return False


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve the photograph pool on loopback.")
    parser.add_argument("folder", type=Path, help="the folder that make_pool.py wrote")
    parser.add_argument("--port", type=int, default=8765)
    arguments = parser.parse_args()
    try:
        with serve(arguments.folder, arguments.port) as base_url:
            print(f"serving {arguments.folder / 'www'} at {base_url}; Ctrl-C ends it", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        pass
    except (NginxError, OSError) as error:
        raise SystemExit(f"serve.py: {error}") from None


if __name__ == "__main__":
    main()

"""A stand-in for the Hugging Face Hub on loopback: one dataset repository, by the parts of its API that are needed.

Large files go as git LFS does, to the server itself; the Hub's own Xet storage is another protocol, and is not here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "me/pairs"
_TREE = re.compile(rf"/api/datasets/{REPOSITORY}/tree/main/?(.*)")
_RESOLVE = re.compile(rf"/datasets/{REPOSITORY}/resolve/main/(.*)")


class Hub:
    """What the repository holds: ``files`` by path; ``commits``: the paths that each one wrote, in order."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {".gitattributes": b"*.tar filter=lfs\n"}
        self.objects: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.faults: list[int] = []  # statuses that the next commits are answered with
        self.spoil: set[str] = set()  # paths that are stored otherwise than sent
        self.url = ""

    def told(self, path: str) -> dict[str, Any]:
        """What the API tells of a file."""
        data = self.files[path]
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        told = {"type": "file", "path": path, "size": len(data), "oid": git}
        if large(path):
            told["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return told

    def commit(self, lines: list[dict[str, Any]]) -> None:
        """Apply the operations of a commit."""
        written = []
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del self.files[value["path"]]
            else:
                continue
            written.append(value["path"])
            if value["path"] in self.spoil:
                self.files[value["path"]] = bytes(len(self.files[value["path"]]))
        self.commits.append(written)


def large(path: str) -> bool:
    """Whether a file is one of git LFS."""
    return path.endswith((".tar", ".parquet"))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith(f"/api/datasets/{REPOSITORY}/revision/") or path == f"/api/datasets/{REPOSITORY}":
            self._json({"id": REPOSITORY, "sha": "0" * 40, "siblings": []})
        elif (match := _TREE.fullmatch(path)) is not None:
            under = f"{match[1]}/" if match[1] else ""
            found = [self.hub.told(name) for name in sorted(self.hub.files) if name.startswith(under)]
            if found:
                self._json(found)
            else:
                self._nothing("EntryNotFound")
        elif (match := _RESOLVE.fullmatch(path)) is not None and match[1] in self.hub.files:
            self._bytes(self.hub.files[match[1]])
        else:
            self._nothing("EntryNotFound" if REPOSITORY in path else "RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = [
                {"path": file["path"], "uploadMode": "lfs" if large(file["path"]) else "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif path.endswith("/info/lfs/objects/batch"):
            objects = []
            for asked in json.loads(body)["objects"]:
                upload = (
                    {}
                    if asked["oid"] in self.hub.objects
                    else {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}
                )
                objects.append({**asked, **({"actions": upload} if upload else {})})
            self._json({"transfer": "basic", "objects": objects})
        elif path.endswith("/paths-info/main"):
            wanted = parse_qs(body.decode())["paths"]
            self._json([self.hub.told(name) for name in wanted if name in self.hub.files])
        elif path.endswith("/commit/main"):
            if self.hub.faults:
                self._json({"error": "try again"}, self.hub.faults.pop(0))
                return
            self.hub.commit([json.loads(line) for line in body.splitlines()])
            self._json({"commitUrl": f"{self.hub.url}/datasets/{REPOSITORY}/commit/1", "commitOid": "1" * 40})
        else:
            self._nothing("RepoNotFound")

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rsplit("/", 1)[-1]
        if hashlib.sha256(data).hexdigest() == oid:
            self.hub.objects[oid] = data
        self._json({}, 200 if oid in self.hub.objects else 400)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def _nothing(self, code: str) -> None:
        self._send(b"{}", 404, {"X-Error-Code": code, "X-Error-Message": "not there"})

    def _bytes(self, data: bytes) -> None:
        status, headers = 200, {"X-Repo-Commit": "0" * 40, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
        if (match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))) is not None:
            status, data = 206, data[int(match[1]) : int(match[2]) + 1]
        self._send(data, status, headers)

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *given: object) -> None:
        pass


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run it until the block ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()

"""One attempt, and the retries around it, against a server that misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import pytest

from pairmill.transforms.fetch import http
from pairmill.transforms.fetch.lane import fetch_blocks
from pairmill.transforms.fetch.network import AsyncNetwork
from pairmill.transforms.fetch.outcome import BlockJob, FetchOutcome, Want
from pairmill.transforms.fetch.resolver import DnsFailure, UnknownHost
from pairmill.transforms.fetch.settings import FetchSettings


class Collected:
    """A sink that keeps what it gets."""

    def __init__(self, into: dict[int, FetchOutcome]) -> None:
        self._into = into

    def add(self, row: int, outcome: FetchOutcome) -> None:
        assert row not in self._into
        self._into[row] = outcome

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


def fetch(urls: Sequence[str | None], lookup: Any = None, **settings: Any) -> list[FetchOutcome]:
    """The outcomes of some URLs, loopback allowed and quick unless said otherwise."""
    chosen = FetchSettings(**{"allow_private_addresses": True, "backoff_s": 0.01, "dns": "system", **settings})
    found: dict[int, FetchOutcome] = {}
    job = BlockJob(0, 0, [Want(row, url) for row, url in enumerate(urls)])

    def open_network(deliver: Any, fail: Any) -> AsyncNetwork:
        def opened(settings: FetchSettings, budget: Any) -> Any:
            return http.open_fetcher(settings, budget, lookup)

        return AsyncNetwork(chosen, deliver, fail, opened)

    list(fetch_blocks([job], chosen, bytes, lambda job: Collected(found), open_network=open_network))
    return [found[row] for row in range(len(urls))]


def one(url: str | None, **settings: Any) -> FetchOutcome:
    return fetch([url], **settings)[0]


def to_loopback(*private: str) -> Any:
    async def lookup(host: str) -> list[str]:
        return list(private or ("127.0.0.1",))

    return lookup


def test_an_image_arrives_whole_with_what_the_server_saw(server):
    server.pages["/a.jpg"] = server.answer()
    outcome = one(server.url("/a.jpg"), contact="https://example.org/bot")
    assert (outcome.status, outcome.stored, outcome.http_status) == ("ok", server.image, 200)
    assert (outcome.attempts, outcome.fetched_bytes) == (1, len(server.image))
    assert outcome.seconds > 0
    assert server.headers["/a.jpg"]["user-agent"] == (
        "pairmill/0.1 (image-text dataset builder) (+https://example.org/bot)"
    )
    assert server.headers["/a.jpg"]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("404 Not Found", "not_found"),
        ("410 Gone", "not_found"),
        ("403 Forbidden", "forbidden"),
        ("451 Unavailable", "forbidden"),
        ("418 Teapot", "client_error"),
        ("206 Partial", "bad_response"),
        ("300 Choices", "bad_response"),
        ("302 Found", "bad_response"),  # without a Location
    ],
)
def test_a_permanent_answer_is_asked_once(server, line, status):
    server.pages["/x"] = server.answer(line, b"no")
    outcome = one(server.url("/x"))
    assert (outcome.status, outcome.attempts, outcome.stored) == (status, 1, None)
    assert server.hits["/x"] == 1


def test_transient_answers_are_asked_again(server):
    server.pages["/500"] = [server.answer("500 Oops", b""), server.answer()]
    server.pages["/429"] = [server.answer("429 Slow down", b"", "Retry-After: 1"), server.answer()]
    server.pages["/502"] = server.answer("502 Bad Gateway", b"")
    found = fetch([server.url(path) for path in ("/500", "/429", "/502")])
    assert [outcome.status for outcome in found] == ["ok", "ok", "server_error"]
    assert [outcome.attempts for outcome in found] == [2, 2, 3]
    assert server.hits == {"/500": 2, "/429": 2, "/502": 3}
    assert found[1].seconds >= 1  # what the server asked for is kept


@pytest.mark.parametrize("asked", ["3600", formatdate(4e9, usegmt=True)])
def test_a_wait_that_the_deadline_does_not_leave_ends_at_once(server, asked):
    server.pages["/x"] = server.answer("429 Slow down", b"", f"Retry-After: {asked}")
    outcome = one(server.url("/x"))
    assert (outcome.status, server.hits["/x"]) == ("rate_limited", 1)


def test_servers_that_are_slow_without_end_are_cut_by_the_deadline(server):
    server.pages.update({"/drip": server.drip, "/hang": server.hang, "/head": server.drip_head})
    found = fetch([server.url(path) for path in ("/drip", "/hang", "/head")], total_timeout_s=0.5)
    assert [outcome.status for outcome in found] == ["too_slow", "timeout", "timeout"]
    assert server.hits == {"/drip": 1, "/hang": 1, "/head": 1}


def test_bodies_that_are_too_large(server):
    server.pages["/announced"] = b"HTTP/1.1 200 OK\r\nContent-Length: 3000001\r\n\r\n"
    server.pages["/endless"] = server.endless
    server.pages["/bomb"] = server.gzip_bomb(50_000_000)
    server.pages["/just"] = server.answer(body=b"\xff\xd8" + bytes(2_999_998))
    urls = [server.url(path) for path in ("/announced", "/endless", "/bomb", "/just")]
    # The budget holds one large body at a time, and what is cut gives its share back.
    found = fetch(urls * 3, max_bytes=3_000_000, buffer_bytes=3_000_000, concurrency=12)
    assert [outcome.status for outcome in found] == ["too_large", "too_large", "too_large", "ok"] * 3


def test_redirects_are_followed_and_counted(server):
    for hop in range(5):
        server.pages[f"/{hop}"] = server.answer("302 Found", b"", f"Location: /{hop + 1}#top")
    server.pages["/5"] = server.answer()
    server.pages["/loop"] = server.answer("301 Moved", b"", "Location: /loop")
    good, long, loop = fetch([server.url("/0"), server.url("/loop")], max_redirects=5)[:1] + fetch(
        [server.url("/0"), server.url("/loop")], max_redirects=4
    )
    assert (good.status, good.final_url, good.attempts) == ("ok", server.url("/5"), 1)
    assert [long.status, loop.status] == ["too_many_redirects", "too_many_redirects"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("file:///etc/passwd", "refused_scheme"),
        ("ftp://example.org/a.jpg", "refused_scheme"),
        ("data:image/png;base64,AAAA", "refused_scheme"),
        ("javascript:alert(1)", "refused_scheme"),
        ("http://10.0.0.1/a.jpg", "refused_address"),
        ("http://169.254.169.254/latest/meta-data", "refused_address"),
        ("http://[::1]/a.jpg", "refused_address"),
        ("http://[::ffff:127.0.0.1]/a.jpg", "refused_address"),
        ("//192.168.1.1/a.jpg", "refused_address"),
        ("http://2130706433/a.jpg", "invalid_url"),
        ("http://0x7f.1/a.jpg", "invalid_url"),
        ("http://:80/", "invalid_url"),
    ],
)
def test_a_redirect_does_not_lead_where_the_pool_may_not(server, target, status):
    server.pages["/x"] = server.answer("302 Found", b"", f"Location: {target}")
    outcome = one(server.url("/x"), allow_private_addresses=False, allow_hosts=(server.host,))
    assert (outcome.status, server.hits["/x"]) == (status, 1)


def test_private_addresses_are_refused_unless_allowed_by_name(server):
    server.pages["/a"] = server.answer()
    urls = [server.url("/a"), server.url("/a", "internal.test"), f"http://[::1]:{server.port}/a"]
    refused = fetch(urls, lookup=to_loopback(), allow_private_addresses=False)
    assert {outcome.status for outcome in refused} == {"refused_address"}
    assert server.connections == 0
    named = fetch(
        [*urls[:2], server.url("/a", "other.test")],
        lookup=to_loopback(),
        allow_private_addresses=False,
        allow_hosts=(server.host, "internal.test"),
    )
    assert [outcome.status for outcome in named] == ["ok", "ok", "refused_address"]


def test_a_name_that_changes_to_a_private_address_is_refused_when_it_is_used(server):
    server.pages["/a"] = server.answer("302 Found", b"", f"Location: http://rebind.test:{server.port}/b")
    server.pages["/b"] = server.answer()
    outcome = one(server.url("/a"), lookup=to_loopback(), allow_private_addresses=False, allow_hosts=(server.host,))
    assert (outcome.status, server.hits["/b"]) == ("refused_address", 0)


def test_opt_out_headers(server):
    for name, lines in {
        "/plain": ["X-Robots-Tag: noai"],
        "/short": ["X-Robots-Tag: NONE"],
        "/many": ["X-Robots-Tag: nofollow", "x-robots-tag: max-image-preview:large, noimageai"],
        "/other": ["X-Robots-Tag: otherbot: noai, noindex"],
        "/ours": ["X-Robots-Tag: otherbot: noai", "X-Robots-Tag: pairmill: noindex"],
    }.items():
        server.pages[name] = server.answer("200 OK", server.image, *lines)
    urls = [server.url(path) for path in ("/plain", "/short", "/many", "/other", "/ours")]
    assert [o.status for o in fetch(urls)] == ["opted_out", "opted_out", "opted_out", "ok", "opted_out"]
    assert server.hits["/plain"] == 1
    assert {o.status for o in fetch(urls, honour_opt_out=False)} == {"ok"}


def test_bodies_that_break_off_are_tried_again_and_never_taken_for_whole(server):
    server.pages["/reset"] = server.reset

    async def chunks(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\xff\xd8abc\r\n800\r\nab")
        await writer.drain()

    async def short(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n\xff\xd8")
        await writer.drain()

    server.pages.update({"/chunks": chunks, "/short": short})
    found = fetch([server.url(path) for path in ("/reset", "/short", "/chunks")])
    assert [outcome.status for outcome in found] == ["connection_error"] * 3
    assert server.hits == {"/reset": 3, "/short": 3, "/chunks": 3}


def test_answers_that_are_no_http(server):
    async def noise(writer: asyncio.StreamWriter, headers: dict[str, str]) -> None:
        writer.write(b"\x00\x01 SSH-2.0 hello\r\n\r\n")
        await writer.drain()

    server.pages["/noise"] = noise
    server.pages["/gzip"] = server.answer("200 OK", server.image, "Content-Encoding: gzip")
    server.pages["/head"] = server.answer("200 OK", server.image, "X-Long: " + "a" * 100_000)
    found = fetch([server.url(path) for path in ("/noise", "/gzip", "/head")])
    assert [outcome.status for outcome in found] == ["bad_response"] * 3
    assert set(server.hits.values()) == {1}


def test_what_is_packed_honestly_is_unpacked(server):
    server.pages["/gzip"] = server.answer("200 OK", gzip.compress(server.image), "Content-Encoding: gzip")
    assert one(server.url("/gzip")).stored == server.image


def test_bodies_that_are_no_image(server):
    pages = {
        "/html": b"\n<!DOCTYPE html><html>not found</html>",
        "/json": b'{"error": "gone"}',
        "/text": "nicht gefunden, schön".encode(),
        "/svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "/empty": b"",
    }
    server.pages.update(
        {path: server.answer("200 OK", body, "Content-Type: image/jpeg") for path, body in pages.items()}
    )
    server.pages["/mislabelled"] = server.answer("200 OK", server.image, "Content-Type: text/html")
    found = fetch([server.url(path) for path in (*pages, "/mislabelled")])
    assert [outcome.status for outcome in found] == [
        *["not_an_image"] * 3,
        "unsupported_format",
        "empty_body",
        "ok",
    ]


def test_connections_are_shared_and_a_host_gets_no_more_than_its_share(server):
    paths = [f"/{index}" for index in range(120)]
    server.pages.update({path: server.answer() for path in paths})
    found = fetch([server.url(path) for path in paths], per_host=4)
    assert {outcome.status for outcome in found} == {"ok"}
    assert server.most_open[server.host] <= 4
    assert server.connections <= 8  # a connection may be closed by the last request and opened once more


def test_nobody_listens():
    outcome = one("http://127.0.0.1:1/a.jpg", retries=1)
    assert (outcome.status, outcome.attempts, outcome.http_status) == ("connection_error", 2, None)


def test_no_tls_on_a_secure_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 400 Plain HTTP here\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        outcome = one(f"https://127.0.0.1:{listening.getsockname()[1]}/a")
    assert (outcome.status, outcome.attempts) == ("tls_error", 1)


def test_a_certificate_that_nobody_vouches_for(tmp_path, start_server):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl command, which makes the certificate, is not here")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server = start_server(tls)
    outcome = one(f"https://127.0.0.1:{server.port}/a")
    assert (outcome.status, outcome.attempts, sum(server.hits.values())) == ("tls_error", 1, 0)


def test_name_failures_are_told_apart_and_asked_once_where_the_name_is_gone():
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        if host.startswith("gone"):
            raise UnknownHost("no such name")
        if host.startswith("slow"):
            await asyncio.sleep(3600)
        raise DnsFailure("server failure")

    urls = ["http://gone.test/1", "http://gone.test/2", "http://broken.test/", "http://slow.test/"]
    found = fetch(urls, lookup=lookup, connect_timeout_s=0.2, retries=1)
    assert [outcome.status for outcome in found] == ["unknown_host", "unknown_host", "dns_error", "dns_error"]
    assert [outcome.attempts for outcome in found] == [1, 1, 2, 2]
    assert sorted(asked) == ["broken.test", "broken.test", "gone.test", "slow.test"]


@pytest.mark.parametrize("dns", ["c-ares", "system"])
def test_real_lookups(server, dns):
    server.pages["/a"] = server.answer()
    found = fetch([server.url("/a", "localhost"), "http://no-such-name.invalid/"], dns=dns)
    assert found[0].status == "ok"
    assert found[1].status in {"unknown_host", "dns_error"}


@pytest.mark.parametrize(
    ("url", "status"),
    [
        (None, "invalid_url"),
        ("", "invalid_url"),
        ("   ", "invalid_url"),
        ("example.com/a.jpg", "invalid_url"),
        ("example.com:80/a.jpg", "invalid_url"),
        ("//example.com/a.jpg", "invalid_url"),
        ("http://", "invalid_url"),
        ("http:///a.jpg", "invalid_url"),
        ("http://exa mple.com:99999/", "invalid_url"),
        ("http://[::1/a", "invalid_url"),
        ("ftp://example.com/a.jpg", "refused_scheme"),
        ("file:///etc/passwd", "refused_scheme"),
        ("data:image/png;base64,AAAA", "refused_scheme"),
    ],
)
def test_what_is_no_url_is_asked_of_nobody(url, status):
    outcome = one(url)
    assert outcome.status == status
    assert outcome.http_status is None


def test_odd_urls_are_asked_for_as_a_browser_would(server):
    asked = {
        "/ä b.jpg?q=ü": "/%C3%A4%20b.jpg?q=%C3%BC",
        "/a%20b.jpg": "/a%20b.jpg",
        "/a.jpg#fragment": "/a.jpg",
        "/a%2Fb.jpg": "/a%2Fb.jpg",
    }
    server.pages.update({path: server.answer() for path in asked.values()})
    found = fetch([f"  {server.url(path)}\n" for path in asked])
    assert {outcome.status for outcome in found} == {"ok"}
    assert set(server.hits) == set(asked.values())

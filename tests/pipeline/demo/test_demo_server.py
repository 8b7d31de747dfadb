from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pairmill.pipeline.demo.forms import FORMS, picture_file, picture_path
from pairmill.pipeline.demo.server import HTML_PAGE, serve_folder

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("www")
    (folder / "in").mkdir()
    (folder / "in" / "a b+ü.jpg").write_bytes(BODY)
    (folder / "a.jpg").write_bytes(BODY)
    (folder.parent / "secret.jpg").write_bytes(b"secret")
    with serve_folder(folder) as url:
        yield url


def get(url: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def test_files_are_served(base_url: str) -> None:
    status, body, headers = get(base_url + "/a.jpg")
    assert (status, body, headers["Content-Type"]) == (200, BODY, "image/jpeg")
    assert get(base_url + "/a.jpg?copy=1")[:2] == (200, BODY)
    assert get(base_url + "/in/a%20b+%C3%BC.jpg")[:2] == (200, BODY)


@pytest.mark.parametrize("path", ["/b.jpg", "/in", "/odd/drip/b.jpg", "/in/..%2f..%2fsecret.jpg", "/%2e%2e/secret.jpg"])
def test_what_is_not_in_the_folder_is_not_found(base_url: str, path: str) -> None:
    assert get(base_url + path)[0] == 404


@pytest.mark.parametrize("code", [403, 410, 429, 500])
def test_statuses(base_url: str, code: int) -> None:
    assert get(f"{base_url}/odd/status/{code}/a.jpg")[0] == code
    assert get(f"{base_url}/odd/status/{code}/a.jpg")[0] == code


@pytest.mark.parametrize("code", [429, 503])
def test_the_first_request_of_each_path_fails(base_url: str, code: int) -> None:
    status, _, headers = get(f"{base_url}/odd/once/{code}/a.jpg")
    assert (status, headers["Retry-After"]) == (code, "0")
    assert get(f"{base_url}/odd/once/{code}/a.jpg")[:2] == (200, BODY)
    assert get(f"{base_url}/odd/once/{code}/in/a%20b+%C3%BC.jpg")[0] == code


def test_headers_pages_and_redirects(base_url: str) -> None:
    status, body, headers = get(base_url + "/odd/robots/noai/a.jpg")
    assert (status, body, headers["X-Robots-Tag"]) == (200, BODY, "noai")
    status, body, headers = get(base_url + "/odd/html/a.jpg")
    assert (status, body, headers.get_content_type()) == (200, HTML_PAGE, "text/html")
    assert get(base_url + "/odd/hops/3/a.jpg")[:2] == (200, BODY)
    assert get(base_url + "/odd/loop/a.jpg")[0] == 302  # urllib gives up


def test_a_cut_answer_ends_before_its_length(base_url: str) -> None:
    with urllib.request.urlopen(base_url + "/odd/cut/a.jpg", timeout=5) as answer:
        with pytest.raises(http.client.IncompleteRead) as error:
            answer.read()
        assert error.value.partial == BODY[: len(BODY) // 2]


def test_a_dripping_answer_begins_and_does_not_end(base_url: str) -> None:
    with urllib.request.urlopen(base_url + "/odd/drip/a.jpg", timeout=5) as answer:
        assert answer.read(2) == BODY[:2]
        assert answer.headers["Content-Length"] is None


def test_a_stalling_server_says_nothing(base_url: str) -> None:
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(base_url + "/odd/stall/a.jpg", timeout=0.3)


def test_an_endless_answer_goes_on_behind_the_file(base_url: str) -> None:
    with urllib.request.urlopen(base_url + "/odd/endless/a.jpg", timeout=5) as answer:
        assert answer.headers["Content-Length"] is None
        assert answer.read(len(BODY) + (5 << 20)).startswith(BODY + bytes(5 << 20))


def test_the_port_is_free_again_and_can_be_asked_for(tmp_path: Path) -> None:
    with serve_folder(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="address already in use"), serve_folder(tmp_path, port):
            pass
    with serve_folder(tmp_path, port) as url:
        assert url.endswith(f":{port}")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="no folder to serve"), serve_folder(tmp_path / "none"):
        pass


@pytest.mark.parametrize("form", FORMS)
def test_pictures_are_drawn_on_request(base_url: str, form: str) -> None:
    path = picture_path(5, form, 1234)
    status, body, headers = get(f"{base_url}/{path}?copy=1")
    assert (status, body) == (200, picture_file(5, form, 1234))
    assert (
        headers["Content-Type"] == {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}[path[-4:].strip(".")]
    )


def test_drawn_pictures_are_served_in_troubled_ways_too(base_url: str) -> None:
    path, body = picture_path(5, "plain", 7), picture_file(5, "plain", 7)
    assert get(f"{base_url}/odd/hops/2/{path}")[:2] == (200, body)
    assert get(f"{base_url}/odd/once/429/{path}")[0] == 429
    assert get(f"{base_url}/odd/once/429/{path}")[:2] == (200, body)
    assert get(f"{base_url}/odd/robots/noai/{path}")[2]["X-Robots-Tag"] == "noai"
    with urllib.request.urlopen(f"{base_url}/odd/cut/{path}", timeout=5) as answer:
        with pytest.raises(http.client.IncompleteRead) as error:
            answer.read()
        assert error.value.partial == body[: len(body) // 2]


@pytest.mark.parametrize(
    "path", ["drawn/5/plain/7.png", "drawn/5/nothing/7.jpg", "drawn/9999999999/plain/7.jpg", "drawn/5/plain/07.jpg"]
)
def test_what_is_no_address_of_a_picture_is_not_found(base_url: str, path: str) -> None:
    assert get(f"{base_url}/{path}")[0] == 404

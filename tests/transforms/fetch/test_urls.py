"""What is asked for, under which host it is counted, and which addresses may be reached."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pairmill.transforms.fetch.addresses import AddressPolicy, is_public, parse_address
from pairmill.transforms.fetch.resolver import GuardedResolver
from pairmill.transforms.fetch.urls import UrlRefused, host_key, parse_url

BASE = URL("https://h.test/a/b")


def asked_for(text: str, base: URL | None) -> URL | str:
    """The URL, or the status of its refusal."""
    try:
        return parse_url(text, base)
    except UrlRefused as refusal:
        return str(refusal.status)


@given(
    st.one_of(st.text(), st.builds("http://{}".format, st.text()), st.builds("https://h.test/{}".format, st.text())),
    st.sampled_from([None, BASE]),
)
def test_any_text_is_a_url_or_refused(text, base):
    key = host_key(text)
    assert key == key.lower()
    found = asked_for(text, base)
    if isinstance(found, URL):
        assert found.scheme in {"http", "https"}
        assert found.raw_host
        assert not found.raw_fragment
        str(found).encode("ascii")
    else:
        assert found in {"invalid_url", "refused_scheme"}


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://A.test/x", "a.test"),
        ("HTTPS://me:secret@a.test:8443?q", "a.test:8443"),
        (" http://[::1]:80/x", "[::1]:80"),
        ("a.test/x", ""),
        (None, ""),
    ],
)
def test_host_keys(url, key):
    assert host_key(url) == key


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "10.1"])
def test_old_spellings_of_addresses_are_refused(host):
    with pytest.raises(UrlRefused, match="canonical"):
        parse_url(f"http://{host}/")


def test_fullwidth_digits_are_what_they_look_like():
    try:
        host = parse_url("http://１２７.0.0.1/").raw_host
    except UrlRefused:
        return
    assert host == "127.0.0.1"


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "64:ff9b::127.0.0.1",
        "2002:7f00:1::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
    ],
)
def test_addresses_that_are_not_public(address):
    parsed = parse_address(address)
    assert parsed is not None
    assert not is_public(parsed)
    assert not AddressPolicy().allows("h.test", 80, address)
    assert AddressPolicy(allow_private=True).allows("h.test", 80, address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_addresses_that_are_public(address):
    parsed = parse_address(address)
    assert parsed is not None
    assert is_public(parsed)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_any_ipv6_form(address):
    mapped = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    assert is_public(mapped) == is_public(address)
    assert not (is_public(address) and address.is_private)


def test_allowed_names():
    policy = AddressPolicy(allow_hosts=("Inner.test", "127.0.0.1:8080", "[::1]:80"))
    assert policy.allows("inner.TEST", 1, "10.0.0.1")
    assert policy.allows("127.0.0.1", 8080, "127.0.0.1")
    assert policy.allows("::1", 80, "::1")
    assert not policy.allows("127.0.0.1", 8081, "127.0.0.1")
    assert not policy.allows("other.test", 8080, "127.0.0.1")


def test_of_many_addresses_only_the_public_ones_are_used():
    async def lookup(host: str) -> list[str]:
        return ["10.0.0.1", "8.8.8.8", "::1", "2606:4700::1111"]

    async def resolve() -> list[str]:
        resolver = GuardedResolver(lookup, AddressPolicy(), 1.0)
        return [found["host"] for found in await resolver.resolve("h.test", 80)]

    assert asyncio.run(resolve()) == ["8.8.8.8", "2606:4700::1111"]
    assert parse_address("h.test") is None


def test_requests_at_a_time_share_one_lookup_and_one_that_gives_up_does_not_end_it():
    asked: list[str] = []

    async def lookup(host: str) -> list[str]:
        asked.append(host)
        await asyncio.sleep(0.02)
        return ["8.8.8.8"]

    async def resolve() -> int:
        resolver = GuardedResolver(lookup, AddressPolicy(), 1.0)
        first = asyncio.ensure_future(resolver.resolve("H.test", 80))
        others = [asyncio.ensure_future(resolver.resolve("h.test", 443)) for _ in range(5)]
        await asyncio.sleep(0.001)
        first.cancel()
        found = await asyncio.gather(*others)
        await resolver.resolve("h.test", 80)
        return len(found)

    assert asyncio.run(resolve()) == 5
    assert asked == ["h.test"]

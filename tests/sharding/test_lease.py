"""A folder belongs to one run at a time, on whichever machine; who is gone is told from who is slow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from pairmill.sharding import lease as lease_module
from pairmill.sharding.lease import (
    PREFIX,
    FolderPlace,
    HeldError,
    Lease,
    LeasePlace,
    Owner,
    StorePlace,
    holder,
    take_lease,
)
from pairmill.sharding.object_store import ObjectStore, StoreError

FAR = Owner(4711, "far-away", "another boot", "1", "far")


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LeasePlace:
    if request.param == "folder":
        return FolderPlace(tmp_path)
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return StorePlace(ObjectStore(f"memory://bucket/{tmp_path.name}"))
    return StorePlace(ObjectStore(request.getfixturevalue("s3").new_url()))


@pytest.fixture
def taken() -> Iterator[Any]:
    """Takes leases, notes what they tell, and gives them back."""
    held: list[Lease] = []

    class Taken:
        lost = 0
        told: list[str] = []  # noqa: RUF012

        def __call__(self, place: LeasePlace, alone: bool = False) -> Lease:
            held.append(take_lease(place, self.count, self.told.append, alone))
            return held[-1]

        def count(self) -> None:
            self.lost += 1

    found = Taken()
    found.told = []
    yield found
    for lease in held:
        lease.release()


def write(place: LeasePlace, owner: Owner, number: int = 1) -> str:
    name = f"{PREFIX}{number:06d}.json"
    place.write(name, json.dumps({**asdict(owner), "beats": 3}).encode())
    return name


def test_one_holds_it_and_the_next_one_comes_after(place: LeasePlace, taken: Any) -> None:
    first = taken(place)
    with pytest.raises(HeldError, match=f"process {os.getpid()} on .*, heard of [0-3] s ago"):
        taken(place)
    first.release()
    assert place.names() == []
    taken(place)
    assert taken.told == []


def test_one_of_another_machine_is_refused_until_it_is_stale(
    place: LeasePlace, taken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, FAR)
    with pytest.raises(HeldError, match="process 4711 on far-away"):
        taken(place)
    with pytest.raises(HeldError):
        taken(place, alone=True)
    monkeypatch.setattr(lease_module, "STALE_S", -1.0)
    taken(place)
    assert len(taken.told) == 1
    assert taken.told[0].startswith("process 4711 on far-away, which was last heard of ")
    assert place.names() == [f"{PREFIX}000002.json"]


def test_the_age_is_by_the_clock_of_who_keeps_it(place: LeasePlace) -> None:
    name = write(place, FAR)
    time.sleep(1.2)
    assert 0.9 <= place.age_s(name) < 60
    assert place.age_s("pairmill.lease-000009.json") == 0
    assert place.names() == [name]


def test_a_dead_process_of_this_machine_is_known_at_once(place: LeasePlace, taken: Any) -> None:
    write(place, replace(Owner.me(), pid=2**22 + 1))
    taken(place)
    assert len(taken.told) == 1


def test_a_number_that_another_process_has_now_is_known_by_its_start(place: LeasePlace, taken: Any) -> None:
    write(place, replace(Owner.me(), started="1", token="old"))
    taken(place)
    assert len(taken.told) == 1
    assert place.names() == [f"{PREFIX}000002.json"]


def test_a_lock_of_the_system_tells_that_nobody_else_is_here(place: LeasePlace, taken: Any) -> None:
    write(place, replace(Owner.me(), token="of a thread that is stuck"))
    with pytest.raises(HeldError):
        taken(place)
    taken(place, alone=True)


def test_the_holder_is_told_while_he_is_heard_of(
    place: LeasePlace, taken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert holder(place) is None
    lease = taken(place)
    assert str(holder(place)).startswith(f"process {os.getpid()} on ")
    lease.release()
    assert holder(place) is None
    write(place, FAR)
    assert holder(place) == FAR
    monkeypatch.setattr(lease_module, "STALE_S", -1.0)
    assert holder(place) is None
    monkeypatch.undo()
    write(place, replace(Owner.me(), pid=2**22 + 1), 2)
    assert holder(place) is None


def test_what_is_no_lease_is_taken(place: LeasePlace, taken: Any) -> None:
    place.write(f"{PREFIX}000007.json", b"{half of")
    taken(place)
    assert place.names() == [f"{PREFIX}000008.json"]


def until(true: Any) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_it_is_renewed_and_who_lost_it_is_told(place: LeasePlace, taken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.05)
    lease = taken(place)
    (name,) = place.names()
    until(lambda: json.loads(place.read(name) or b"{}").get("beats", 0) >= 3)
    assert not lease.lost
    write(place, FAR, 2)
    until(lambda: taken.lost == 1)
    assert lease.lost.startswith("process 4711 on far-away has taken it over")
    lease.release()
    assert f"{PREFIX}000002.json" in place.names()  # the other one's stays


def test_one_that_cannot_be_renewed_is_lost_after_a_while(
    place: LeasePlace, taken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.05)
    monkeypatch.setattr(lease_module, "STALE_S", 0.3)
    lease = taken(place)

    def fail(*_: Any) -> None:
        raise StoreError("the store does not answer")

    monkeypatch.setattr(place, "write", fail)
    until(lambda: taken.lost == 1)
    assert "could not be renewed for 0 s (the store does not answer)" in lease.lost

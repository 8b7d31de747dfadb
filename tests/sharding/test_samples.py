from __future__ import annotations

import pytest

from pairmill.sharding.fault import Fault, FaultCounter, printable
from pairmill.sharding.samples import group_samples, split_name
from pairmill.sharding.tar import TarMember


def grouped(*members: str | tuple[str, str]) -> tuple[list[tuple[str, list[str]]], list[str], list[str]]:
    """Keys with extensions, faults, warnings of members given by name, or (name, type)."""
    faults, warnings = FaultCounter("a.tar"), FaultCounter("a.tar")
    walked = [TarMember(m, 0, 512, 0, "0") if isinstance(m, str) else TarMember(m[0], 0, 512, 0, m[1]) for m in members]
    samples = [(s.key, [extension for extension, _ in s.members]) for s in group_samples(walked, faults, warnings)]
    return samples, [fault.what for fault in faults.faults()], [warning.what for warning in warnings.faults()]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.jpg", ("a", "jpg")),
        ("./d.x/a.seg.png", ("./d.x/a", "seg.png")),
        ("d/a.", ("d/a", "")),
        ("a", None),
        ("d/.hidden", None),
        ("d.x/a", None),
        ("._a.jpg", None),
    ],
)
def test_names_split_as_webdataset_splits_them(name: str, parts: tuple[str, str] | None) -> None:
    base_plus_ext = pytest.importorskip("webdataset.tariterators").base_plus_ext
    assert split_name(name) == parts
    if "/." not in name:  # webdataset takes a hidden file in a folder for a sample without a name, DALI passes over it
        assert base_plus_ext(name) == (parts or (None, None))


def test_adjacent_members_make_a_sample() -> None:
    assert grouped(("d", "5"), "d/1.jpg", "d/1.txt", "d/2.jpg") == (
        [("d/1", ["jpg", "txt"]), ("d/2", ["jpg"])],
        [],
        [],
    )


def test_a_key_that_comes_back_is_a_fault() -> None:
    samples, faults, _ = grouped("1.jpg", "2.jpg", "1.txt")
    assert [key for key, _ in samples] == ["1", "2", "1"]
    assert faults == ["key '1' comes twice; the members of a sample must be adjacent, keys unique"]


def test_a_member_that_comes_twice_is_counted_once() -> None:
    assert grouped("1.jpg", "1.txt", "1.jpg") == ([("1", ["jpg", "txt"])], ["member '1.jpg' comes twice"], [])


@pytest.mark.parametrize("name", ["../1.jpg", "/etc/1.jpg", "d/../../1.jpg", ".."])
def test_names_that_lead_out(name: str) -> None:
    samples, faults, _ = grouped("0.jpg", name)
    assert samples == [("0", ["jpg"])]
    assert "leads out of the folder" in faults[0]


@pytest.mark.parametrize(
    ("type", "word"), [("1", "hard"), ("2", "symbolic"), ("3", "device"), ("4", "device"), ("6", "FIFO")]
)
def test_what_is_no_file_is_a_fault(type: str, word: str) -> None:
    samples, faults, _ = grouped("0.jpg", ("0.txt", type))
    assert samples == [("0", ["jpg"])]
    assert word in faults[0]


def test_files_of_no_sample_are_warned_of_once() -> None:
    samples, faults, warnings = grouped("README", "0.jpg", "._0.jpg", "__meta__", "__meta.json__")
    assert (samples, faults) == ([("0", ["jpg"])], [])
    assert warnings == ["member 'README' has no key or no extension and belongs to no sample (and 3 more like it)"]


def test_faults_are_one_safe_line() -> None:
    fault = Fault("a\nb.tar", "member \x1b[31m\udcff ü")
    assert str(fault) == "a\\nb.tar: member \\x1b[31m\\udcff ü"
    assert printable("plain ü") == "plain ü"

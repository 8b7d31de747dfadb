"""Recipe files: words stay words, and what is wrong is told with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairmill.pipeline.recipe_file import (
    SHIPPED,
    check_keys,
    find_recipe,
    read_yaml,
    set_key,
    share,
    shipped_recipes,
    with_units,
)
from pairmill.sharding.errors import UsageError


def read(tmp_path: Path, text: str | bytes) -> dict[str, object]:
    path = tmp_path / "r.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("On", "On"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("-12", -12),
        ("0", 0),
        ("1e3", 1000.0),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", float("-inf")),
        ("2024-01-05", "2024-01-05"),
        ("2024-13-45", "2024-13-45"),
        ("=", "="),
        ("~", None),
        ("null", None),
        ("", None),
        ("256 MiB", "256 MiB"),
        ("0.5 %", "0.5 %"),
        ('"1"', "1"),
        ("[no, en]", ["no", "en"]),
    ],
)
def test_words_are_words_and_numbers_are_numbers(tmp_path: Path, text: str, value: object) -> None:
    found = read(tmp_path, f"key: {text}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_merged_and_shared_values_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb: 2\na: 3\n", ", line 3: the key 'a' is there twice"),
        ("fetch:\n  retries: 1\n  retries: 2\n", ", line 3: the key 'retries' is there twice"),
        ("a: 1\n\tb: 2\n", ", line 2: found character '\\t' that cannot start any token"),
        ("a: [1\n", ", line 2: "),
        ("a: {b: 1]\n", ", line 1: "),
        ("{[1]: 2}\n", ", line 1: found unhashable key"),
        ("a: !!python/object/apply:os.system [ls]\n", ", line 1: could not determine a constructor"),
        ("a: *nowhere\n", ", line 1: found undefined alias 'nowhere'"),
        ("a: \x00\n", ": unacceptable character #x0000"),
        ("- a\n", " must be a mapping"),
        ("", " must be a mapping"),
        ("word\n", " must be a mapping"),
        (b"a: \xff\n", " is not UTF-8 text: invalid start byte at byte 3"),
        ("a: " + "[" * 5000 + "]" * 5000, ": maximum recursion depth exceeded"),
        ("a: " + "1" * 6000, ": Exceeds the limit"),
    ],
)
def test_what_is_no_recipe_is_told_in_one_line(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    message = str(raised.value)
    assert message.startswith(f"recipe {tmp_path / 'r.yaml'}{told}")
    assert "\n" not in message


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfname: x\n") == {"name": "x"}


def test_recipes_are_found_by_path_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: x\n")
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    assert {"demo", "datacomp_basic"} <= set(shipped_recipes())
    for name in shipped_recipes():
        assert find_recipe(name) == SHIPPED / f"{name}.yaml"
    with pytest.raises(UsageError, match=r"no recipe file 'nope' and no shipped recipe of that name; .*demo"):
        find_recipe("nope")


@pytest.mark.parametrize(
    ("assignment", "wanted"),
    [
        ("shards.count=8", {"shards": {"count": 8, "x": 1}, "name": "n", "empty": None}),
        ("name=no", {"shards": {"x": 1}, "name": "no", "empty": None}),
        ("a.b.c=[1, two]", {"shards": {"x": 1}, "name": "n", "empty": None, "a": {"b": {"c": [1, "two"]}}}),
        ("empty.key=a=b", {"shards": {"x": 1}, "name": "n", "empty": {"key": "a=b"}}),
        ("language=", {"shards": {"x": 1}, "name": "n", "empty": None, "language": None}),
    ],
)
def test_keys_are_set_on_top(assignment: str, wanted: dict[str, object]) -> None:
    recipe = {"shards": {"x": 1}, "name": "n", "empty": None}
    set_key(recipe, assignment)
    assert recipe == wanted


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("seed", "is not KEY=VALUE"),
        ("=3", "is not KEY=VALUE"),
        ("name.x=3", "name is not a mapping"),
        ("rules=[a", "line 1: expected ',' or ']'"),
        ("x={a: 1, a: 2}", "the key 'a' is there twice"),
    ],
)
def test_an_assignment_that_is_none_is_told_in_one_line(assignment: str, told: str) -> None:
    with pytest.raises(UsageError) as raised:
        set_key({"name": "n"}, assignment)
    assert str(raised.value).startswith(f"--set {assignment!r}")
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.integers(0, 10**6), st.sampled_from(["", "B", "k", "kB", "KB", "MiB", "mib", "Gi", "G", "TB"]))
def test_sizes_take_units(number: int, unit: str) -> None:
    factors = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
    letters = unit.lower().removesuffix("b")
    binary = letters.endswith("i")
    factor = factors.get(letters[:1], 1)
    if binary:
        factor = {10**3: 2**10, 10**6: 2**20, 10**9: 2**30, 10**12: 2**40}[factor]
    assert with_units({"a": {"max_bytes": f"{number} {unit}"}}) == {"a": {"max_bytes": number * factor}}


def test_only_sizes_take_units() -> None:
    values = {"caption": "5 MB", "max_bytes": 7, "x": [{"max_bytes": "1 MB"}], "target_bytes": "1 XB", "b_bytes": "i"}
    assert with_units(values) == values
    assert with_units({"max_bytes": "1.5 GiB"}) == {"max_bytes": 3 << 29}


@pytest.mark.parametrize(("value", "wanted"), [("0.5 %", 0.005), ("5%", 0.05), (0.25, 0.25), ("0.25", 0.25)])
def test_shares(value: object, wanted: float) -> None:
    assert share(value) == pytest.approx(wanted)


@pytest.mark.parametrize("value", [0, 1, "100 %", -0.1, "nan", float("nan"), "x", "x %", "%", True, None, [1], {}])
def test_what_is_no_share(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no share; give one such as 0\.005 or 0\.5 %|is not between 0 and 1"):
        share(value)


@dataclass(frozen=True)
class Inner:
    depth: int = 0


@dataclass(frozen=True)
class Outer:
    width: int = 0
    inner: Inner = field(default_factory=Inner)


def test_unknown_keys_are_named_with_their_path_and_a_suggestion() -> None:
    assert check_keys(Outer, {"width": 1, "inner": {"depth": 2}}, "outer") == []
    assert check_keys(Outer, {"widht": 1, "inner": {"zz": 2}}, "outer") == [
        "outer.widht: there is no such key; did you mean 'width'? (keys: width, inner)",
        "outer.inner.zz: there is no such key (keys: depth)",
    ]
    assert check_keys(Outer, 7, "outer") == []

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from pairmill.filters.blocklist import Allowlist, Blocklist
from pairmill.filters.verdict import first_reason
from pairmill.sharding.value_list import list_file

SHA = "0f" * 32
FRAME = pl.DataFrame(
    {
        "url": ["http://a.b.example.com/1", "http://example.org/2", None],
        "uid": ["0" * 32, "1" * 32, "x y"],
        "sha256": [SHA, "ab" * 32, None],
        "md5": [SHA[:32].upper(), "ab" * 16, None],
        "phash": pl.Series([1, 2**64 - 1, None], dtype=pl.UInt64),
    }
)


@pytest.mark.parametrize(
    ("kind", "values", "blocked"),
    [
        ("url", ("http://example.org/2", "http://example.org"), [1]),
        ("host", ("Example.com.", "b.example.org"), [0]),
        ("uid", ("1" * 32, "x y"), [1, 2]),
        ("sha256", (SHA.upper(),), [0]),
        ("md5", (SHA[:32],), [0]),
        ("phash", ("ffffffffffffffff",), [1]),
        ("url", (), []),
        ("host", (), []),
    ],
)
def test_what_is_listed_is_blocked(kind, values, blocked, tmp_path):
    expected = [f"{kind}_blocked" if row in blocked else None for row in range(3)]
    assert first_reason([Blocklist(kind=kind, values=values)], FRAME).to_list() == expected
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{value}\n" for value in values))
    assert first_reason([Blocklist(kind=kind, values=list_file(path))], FRAME).to_list() == expected


def test_a_pair_without_the_value_passes_unless_said_otherwise():
    rule = Blocklist(kind="sha256", values=(SHA,), missing="reject")
    assert first_reason([rule], FRAME).to_list() == ["sha256_blocked", None, "missing_sha256"]


def test_what_is_not_listed_is_not_allowed():
    rule = Allowlist(kind="host", values=("example.com",))
    assert first_reason([rule], FRAME).to_list() == [None, "host_not_listed", "missing_url"]
    assert first_reason([Allowlist(kind="url", values=())], FRAME[:1]).to_list() == ["url_not_listed"]


def test_a_subset_of_datacomp_is_kept(tmp_path):
    subset = np.array([(int("1" * 16, 16), int("1" * 16, 16))], np.dtype("u8,u8"))
    np.save(tmp_path / "subset.npy", subset)
    rule = Allowlist(kind="uid", values=list_file(tmp_path / "subset.npy"))
    assert first_reason([rule], FRAME).to_list() == ["uid_not_listed", None, "uid_not_listed"]


def test_another_column():
    frame = pl.DataFrame({"page_url": ["http://example.com/"]})
    rule = Blocklist(kind="host", values=("example.com",), column="page_url")
    assert rule.columns() == ("page_url",)
    assert first_reason([rule], frame).to_list() == ["host_blocked"]


@pytest.mark.parametrize("parameters", [{"kind": "sha255", "values": ()}, {"kind": "url", "values": "bad.txt"}])
def test_senseless_parameters(parameters):
    with pytest.raises(ValueError, match=r"^blocklist: (kind|values) is "):
        Blocklist(**parameters)

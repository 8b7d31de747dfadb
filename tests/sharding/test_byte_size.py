from __future__ import annotations

import pytest

from pairmill.sharding.byte_size import parse_bytes, told_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("512", 512), ("512B", 512), ("500MB", 500_000_000), ("1.5 TB", 1_500_000_000_000), ("2k", 2000),
        ("20GiB", 20 << 30), ("1Ki", 1024), (" 3G ", 3_000_000_000),
    ],
)  # fmt: skip
def test_sizes_as_people_write_them(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 XB", "1iB", "1e9", "ten"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size; write it like"):
        parse_bytes(text)


def test_sizes_for_people() -> None:
    told = [0, 999, 1000, 12_345_678, 99_960_000, 512_000_000_000, 5 * 10**18]
    assert [told_bytes(size) for size in told] == ["0 B", "999 B", "1.0 KB", "12.3 MB", "100 MB", "512 GB", "5000 PB"]

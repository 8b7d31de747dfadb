from __future__ import annotations

from pathlib import Path

import pytest

from pairmill.transforms.pool.spec import PoolSpec, pool_root


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": ""}, "path is empty"),
        ({"path": "s3://bucket/x"}, "not a local path"),
        ({"block_rows": 0}, "outside 1..65536"),
        ({"block_rows": 65_537}, "outside 1..65536"),
        ({"preset": "liaon"}, "preset 'liaon' is unknown; there are cc12m"),
        ({"delimiter": "||"}, "delimiter"),
        ({"delimiter": '"'}, "delimiter"),
        ({"header": ()}, "header"),
        ({"header": ("a", "a")}, "header"),
        ({"keep_columns": "some"}, "keep_columns"),
        ({"dtypes": {"x": "date"}}, "x is 'date'"),
    ],
)
def test_values_outside_their_range(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        PoolSpec(**{"path": "pool", **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_root_is_the_folder_of_the_pool(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    assert pool_root(PoolSpec(str(tmp_path / "a.csv"))) == tmp_path
    assert pool_root(PoolSpec(str(tmp_path))) == tmp_path
    assert pool_root(PoolSpec(str(tmp_path / "a.csv"), image_root="/images")) == Path("/images")

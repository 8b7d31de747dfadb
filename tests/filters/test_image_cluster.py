from __future__ import annotations

import polars as pl
import pytest

from pairmill.filters.image_cluster import ImageCluster
from pairmill.filters.verdict import first_reason
from pairmill.sharding.value_list import list_file


@pytest.mark.parametrize("dtype", [pl.UInt32, pl.Int64])
def test_clusters_that_are_kept(dtype, tmp_path):
    frame = pl.DataFrame({"image_cluster": [0, 7, 99_999, None]}, schema={"image_cluster": dtype})
    expected = [None, "image_cluster_not_kept", None, "missing_image_cluster"]
    assert first_reason([ImageCluster(clusters=(99_999, 0))], frame).to_list() == expected
    path = tmp_path / "clusters.txt"
    path.write_text("0\n99999\n")
    assert first_reason([ImageCluster(clusters=list_file(path))], frame).to_list() == expected


@pytest.mark.parametrize("clusters", [(), "clusters.txt"])
def test_senseless_parameters(clusters):
    with pytest.raises(ValueError, match=r"^image_cluster: clusters is "):
        ImageCluster(clusters=clusters)

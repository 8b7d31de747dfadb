from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from pairmill.transforms.pool.plan import plan_segments
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.spec import PoolError, PoolSpec

OBELICS = [
    {
        "images": ["http://a/1", None, "http://a/2", "http://a/3", None, "http://a/4"],
        "texts": [None, "first", None, None, "second", None],
        "metadata": json.dumps([{"alt_text": "one"}, None, {"alt_text": "two"}, {}, None, {}]),
        "general_metadata": '{"url": "http://page/1"}',
    },
    {"images": [None], "texts": ["no image at all"], "metadata": "[null]", "general_metadata": "{}"},
    {"images": ["http://b/1"], "texts": [None], "metadata": "[{}]", "general_metadata": "{}"},
]


def read(path: Path, **options: object) -> pl.DataFrame:
    spec = PoolSpec(str(path), format="documents", **options)  # type: ignore[arg-type]
    return pl.concat([b for s in plan_segments(spec) for b in read_segment(spec, s)])


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("block_rows", [1, 2, 100])
def test_obelics(tmp_path: Path, kind: str, block_rows: int) -> None:
    path = tmp_path / f"docs.{kind}"
    if kind == "parquet":
        pl.DataFrame(OBELICS).write_parquet(path, row_group_size=1)
    else:
        path.write_text("\n".join(map(json.dumps, OBELICS)))
    got = read(path, block_rows=block_rows)
    assert got["url"].to_list() == ["http://a/1", "http://a/2", "http://a/3", "http://a/4", "http://b/1"]
    assert got["caption"].to_list() == ["first", "second", "second", "second", None]
    assert got["position"].to_list() == [0, 2, 3, 5, 0]
    assert got["document_id"].to_list() == [f"docs.{kind}#0"] * 4 + [f"docs.{kind}#2"]
    assert got["image_metadata"].to_list()[:2] == ['{"alt_text":"one"}', '{"alt_text":"two"}']
    assert got["general_metadata"].to_list()[0] == '{"url": "http://page/1"}'
    assert got["other_fields"].null_count() == got["row_error"].null_count() == 5


def test_document_numbers_go_on_over_row_groups(tmp_path: Path) -> None:
    rows = [{"images": [f"http://a/{i}"], "texts": [f"t{i}"]} for i in range(50)]
    pl.DataFrame(rows).write_parquet(tmp_path / "d.parquet", row_group_size=7)
    spec = PoolSpec(str(tmp_path), format="documents", block_rows=1)
    segments = plan_segments(spec)
    assert len(segments) == 3
    got = read(tmp_path, block_rows=1)
    assert got["document_id"].to_list() == [f"d.parquet#{i}" for i in range(50)]
    assert got["caption"].to_list() == [f"t{i}" for i in range(50)]


def test_mmc4(tmp_path: Path) -> None:
    document = {
        "image_info": [
            {
                "face_detections": None,
                "image_name": "b.jpg",
                "matched_sim": 0.27,
                "matched_text_index": 2,
                "raw_url": "http://b",
            },
            {
                "face_detections": None,
                "image_name": "d.jpg",
                "matched_sim": 0.32,
                "matched_text_index": 1,
                "raw_url": "http://d",
            },
            {"image_name": "e.jpg", "matched_text_index": 9, "raw_url": "http://e"},
        ],
        "similarity_matrix": [[0.1, 0.2, 0.3]] * 3,
        "text_list": ["zero", "one", "two"],
        "url": "http://page",
        "could_have_url_duplicate": 0,
    }
    (tmp_path / "docs_no_face_shard_0_v3.jsonl").write_text(json.dumps(document) + "\n")
    got = read(tmp_path)
    assert got["url"].to_list() == ["http://b", "http://d", "http://e"]
    assert got["caption"].to_list() == ["two", "one", None]
    assert got["clip_l14_similarity_score"].to_list() == [0.27, 0.32, None]
    assert got["page_url"].to_list() == ["http://page"] * 3
    assert got["could_have_url_duplicate"].to_list() == [0, 0, 0]
    assert json.loads(got["image_metadata"][0])["image_name"] == "b.jpg"
    assert "similarity_matrix" not in got.columns


def test_other_names_and_broken_documents(tmp_path: Path) -> None:
    documents = [
        {"id": 7, "parts": ["x", None], "pics": [None, "http://a/1"], "lang": "en"},
        {"id": "8", "parts": ["x"], "pics": []},
        {"id": "9"},
        {"id": "10", "parts": ["p", "q"], "pics": [5, "http://a/2"]},
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, documents)) + "\nbroken\n")
    got = read(tmp_path, columns={"texts": "parts", "images": "pics", "document_id": "id"})
    bad = "bad_document"
    assert got["row_error"].to_list() == [None, bad, bad, bad, None, "bad_json"]
    assert got["document_id"].to_list() == ["7", None, None, "10", "10", None]
    assert got["caption"].to_list() == ["x", None, None, "p", "q", None]
    assert got["lang"].to_list()[0] == "en"
    assert got["uid"].n_unique() == 6


def test_no_documents_at_all(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"url": "http://a", "caption": "x"}\n')
    with pytest.raises(PoolError, match="no document with images"):
        read(tmp_path)

"""Each published schema, as its publisher writes it, read through its preset."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pairmill.sharding.pair import POOL_COLUMNS, pair_uid
from pairmill.transforms.pool.plan import plan_segments
from pairmill.transforms.pool.presets import PRESETS
from pairmill.transforms.pool.read import read_segment
from pairmill.transforms.pool.spec import PoolSpec

UID = "a9661a41140dd60e8774195e22cc7160"
SHA = "95d2ca5231d6813de5b1e3a0fb814446db93e5529a4cc4558d3438983c7e5e45"
URLS = ["http://a.example/1.jpg", "http://b.example/2.png"]
CAPTIONS = ["EARRINGS SPIKE", "红楼梦, ‘a\tdream’"]


def read(path: Path, **options: object) -> pl.DataFrame:
    spec = PoolSpec(str(path), **options)  # type: ignore[arg-type]
    blocks = [b for s in plan_segments(spec) for b in read_segment(spec, s)]
    assert {n: t for n, t in blocks[0].schema.items() if n in POOL_COLUMNS} == POOL_COLUMNS
    return pl.concat(blocks)


def test_datacomp(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            *((n, pa.string()) for n in ("uid", "url", "text")),
            *((n, pa.int64()) for n in ("original_width", "original_height")),
            *((n, pa.float32()) for n in ("clip_b32_similarity_score", "clip_l14_similarity_score")),
            ("face_bboxes", pa.list_(pa.list_(pa.float64()))),
            ("sha256", pa.string()),
        ]
    )
    boxes = [[[0.5, 0.25, 0.75, 1.0]], []]
    columns = [[UID, UID[2:]], URLS, CAPTIONS, [560, 80], [840, 81], [0.25, 0.5], [0.125, 0.75], boxes, [SHA, SHA]]
    pq.write_table(pa.table(columns, schema=schema), tmp_path / "0035af9f.parquet")
    (tmp_path / "0035af9f.npz").write_bytes(b"embeddings lie beside")
    got = read(tmp_path, preset="datacomp")
    assert got["uid"].to_list() == [UID, "00" + UID[2:]]
    assert got["url"].to_list() == URLS
    assert got["caption"].to_list() == CAPTIONS
    assert got["original_width"].to_list() == [560, 80]
    assert got.schema["original_height"] == pl.Int32
    assert got["clip_l14_similarity_score"].to_list() == [0.125, 0.75]
    assert got.schema["clip_b32_similarity_score"] == pl.Float32
    assert got["face_bboxes"].to_list() == ["[[0.5,0.25,0.75,1.0]]", "[]"]
    assert got["pool_sha256"].to_list() == [SHA, SHA]
    assert got["row_error"].null_count() == 2


@pytest.mark.parametrize(
    ("preset", "score"), [("laion", "clip_b32_similarity_score"), ("laion_multi", "mclip_similarity_score")]
)
def test_laion(tmp_path: Path, preset: str, score: str) -> None:
    table = {
        "SAMPLE_ID": pa.array([1581282014547, 2], pa.int64()),
        "URL": URLS,
        "TEXT": CAPTIONS,
        "HEIGHT": pa.array([225.0, None], pa.float64()),
        "WIDTH": pa.array([300.0, float("nan")], pa.float64()),
        "LICENSE": ["?", "CC"],
        "NSFW": ["UNLIKELY", None],
        "similarity": [0.33, 0.28],
        "punsafe": pa.array([0.01, 0.9], pa.float32()),
        "__index_level_0__": [0, 1],
    }
    table |= {"LANGUAGE": ["de", "nolang"]} if preset == "laion_multi" else {}
    pq.write_table(pa.table(table), tmp_path / "part-00000.snappy.parquet")
    (tmp_path / "_SUCCESS").touch()
    got = read(tmp_path, preset=preset)
    assert got["uid"].to_list() == [pair_uid(u, c) for u, c in zip(URLS, CAPTIONS, strict=True)]
    assert got["original_width"].to_list() == [300, None]
    assert got["original_height"].to_list() == [225, None]
    assert got[score].to_list() == [0.33, 0.28]
    assert got["license"].to_list() == ["?", "CC"]
    assert got["nsfw"].to_list() == ["UNLIKELY", None]
    assert got["sample_id"].to_list() == [1581282014547, 2]
    assert "__index_level_0__" not in got.columns
    assert got["other_fields"].null_count() == 2
    if preset == "laion_multi":
        assert got["language"].to_list() == ["de", "nolang"]


@pytest.mark.real_data
def test_laion_real_rows(shared_data: Path) -> None:
    path = shared_data / "alt_text" / "laion_style_10000.parquet"
    got = read(path, preset="laion", block_rows=4096)
    there = pl.read_parquet(path)
    assert got["caption"].equals(there["TEXT"].alias("caption"))
    assert got["url"].equals(there["URL"].str.strip_chars().alias("url"))
    assert got["row_error"].null_count() == got.height == 10_000


@pytest.mark.parametrize(("preset", "order"), [("cc3m", (1, 0)), ("cc12m", (0, 1))])
@pytest.mark.parametrize("with_header", [False, True])
def test_conceptual_captions(tmp_path: Path, preset: str, order: tuple[int, int], with_header: bool) -> None:
    rows = [("url", "caption")] if with_header else []
    rows += [(URLS[0], 'a 5" pipe'), (URLS[1], '"quoted, not closed')]
    text = "".join("\t".join(row[i] for i in order) + "\n" for row in rows)
    (tmp_path / "pool.tsv").write_text(text, encoding="utf-8")
    got = read(tmp_path / "pool.tsv", preset=preset)
    assert got["url"].to_list() == URLS
    assert got["caption"].to_list() == ['a 5" pipe', '"quoted, not closed']


def test_coyo(tmp_path: Path) -> None:
    ints = ("width", "height", "text_length", "word_count", "num_tokens_bert", "num_tokens_gpt", "num_faces")
    floats = (
        "clip_similarity_vitb32",
        "clip_similarity_vitl14",
        "nsfw_score_opennsfw2",
        "nsfw_score_gantman",
        "watermark_score",
        "aesthetic_score_laion_v2",
    )
    table = pa.table(
        {
            "id": pa.array([2559800550877, 4896263451343], pa.int64()),
            "url": URLS,
            "text": CAPTIONS,
            **{n: pa.array([i, i + 1], pa.int32()) for i, n in enumerate(ints, 600)},
            "image_phash": ["e9e90c24f1d9c674", "bac58374982e0fc7"],
            **{n: pa.array([0.25, 0.5], pa.float32()) for n in floats},
        }
    )
    pq.write_table(table, tmp_path / "part-00000-17da4908.snappy.parquet")
    got = read(tmp_path, preset="coyo")
    assert got["original_width"].to_list() == [600, 601]
    assert got["original_height"].to_list() == [601, 602]
    assert got["clip_b32_similarity_score"].to_list() == [0.25, 0.5]
    assert got["image_phash"].to_list() == ["e9e90c24f1d9c674", "bac58374982e0fc7"]
    assert got["id"].to_list() == [2559800550877, 4896263451343]
    assert {"width", "height", "text"}.isdisjoint(got.columns)
    assert {"word_count", "nsfw_score_gantman", "aesthetic_score_laion_v2"} <= set(got.columns)


def test_redcaps(tmp_path: Path) -> None:
    row = {
        "image_id": "bpzj7r",
        "author": "djasz1",
        "url": URLS[0],
        "raw_caption": "Found this on a trail",
        "caption": "found this on a trail",
        "subreddit": "abandonedporn",
        "score": 72,
        "created_utc": 1558203401,
        "permalink": "/r/abandonedporn/comments/bpzj7r/",
        "crosspost_parents": None,
    }
    (tmp_path / "annotations").mkdir()
    other = {**row, "url": URLS[1], "crosspost_parents": ["abc"]}
    for name, rows in (("abandonedporn_2019.json", [row]), ("birds_2020.json", [other])):
        content = {"info": {"start_date": "2019-01-01"}, "annotations": rows}
        (tmp_path / "annotations" / name).write_text(json.dumps(content))
    got = read(tmp_path, preset="redcaps")
    assert got["url"].to_list() == URLS
    assert got["caption"].to_list() == ["found this on a trail"] * 2
    assert got["raw_caption"].to_list() == ["Found this on a trail"] * 2
    assert got["score"].to_list() == [72, 72]
    assert got["crosspost_parents"].to_list() == [None, '["abc"]']


def test_sbu(tmp_path: Path) -> None:
    content = {"image_urls": URLS, "user_ids": ["47889917@N08", "39873962@N00"], "captions": CAPTIONS}
    (tmp_path / "sbu-captions-all.json").write_text(json.dumps(content))
    got = read(tmp_path / "sbu-captions-all.json", preset="sbu")
    assert got["url"].to_list() == URLS
    assert got["caption"].to_list() == CAPTIONS
    assert got["user_id"].to_list() == content["user_ids"]


WIT_FIELDS = [
    "language",
    "page_url",
    "image_url",
    "page_title",
    "section_title",
    "hierarchical_section_title",
    "caption_reference_description",
    "caption_attribution_description",
    "caption_alt_text_description",
    "mime_type",
    "original_height",
    "original_width",
    "is_main_image",
    "attribution_passes_lang_id",
    "page_changed_recently",
    "context_page_description",
    "context_section_description",
]


def test_wit(tmp_path: Path) -> None:
    row = dict.fromkeys(WIT_FIELDS, "") | {
        "language": "en",
        "page_url": "https://en.wikipedia.example/wiki/Oxydactylus",
        "image_url": URLS[0],
        "caption_attribution_description": 'English: "Mounted" skeleton',
        "original_height": "3564",
        "original_width": "2748",
        "is_main_image": "true",
        "attribution_passes_lang_id": "false",
        "context_page_description": "two\nlines",
    }
    other = row | {
        "caption_reference_description": "A skull",
        "caption_alt_text_description": "skull",
        "image_url": URLS[1],
    }
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, WIT_FIELDS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows([row, other])
    (tmp_path / "wit_v1.train.all-00000-of-00010.tsv.gz").write_bytes(gzip.compress(out.getvalue().encode()))
    got = read(tmp_path, preset="wit")
    assert got["caption"].to_list() == ['English: "Mounted" skeleton', "A skull"]
    assert got["caption_alt_text_description"].to_list() == [None, "skull"]
    assert got["original_height"].to_list() == [3564, 3564]
    assert got["is_main_image"].to_list() == [True, True]
    assert got["attribution_passes_lang_id"].to_list() == [False, False]
    assert got["page_changed_recently"].to_list() == [None, None]
    assert got["context_page_description"].to_list() == ["two\nlines"] * 2
    assert got["other_fields"].null_count() == 2


def test_wukong(tmp_path: Path) -> None:
    for i, (url, caption) in enumerate(zip(URLS, CAPTIONS, strict=True)):
        (tmp_path / f"wukong_100m_{i}.csv").write_text(f'url,caption\n{url},"{caption}"\n', encoding="utf-8")
    got = read(tmp_path, preset="wukong")
    assert got["url"].to_list() == URLS
    assert got["caption"].to_list() == CAPTIONS


def img2dataset_row(i: int) -> dict[str, object]:
    return {
        "uid": UID,
        "caption": CAPTIONS[i],
        "url": URLS[i],
        "key": f"00000000{i}",
        "status": "success",
        "error_message": None,
        "width": 512,
        "height": 384,
        "original_width": 1024,
        "original_height": 768,
        "exif": "{}",
        "sha256": SHA,
    }


def test_img2dataset(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for i in range(2):
            row = img2dataset_row(i)
            for suffix, content in (
                ("jpg", b"\xff\xd8" + bytes(i + 1)),
                ("json", json.dumps(row, indent=4).encode()),
                ("txt", str(row["caption"]).encode()),
            ):
                info = tarfile.TarInfo(f"{row['key']}.{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    table = pl.DataFrame([img2dataset_row(0), img2dataset_row(1)])
    table.with_columns(pl.Series("status", ["success", "failed_to_download"])).write_parquet(tmp_path / "00000.parquet")
    (tmp_path / "00000_stats.json").write_text('{"count": 2, "successes": 2}')
    got = read(tmp_path, preset="img2dataset")  # the tars: the parquet beside them is the same rows again
    assert got["path"].to_list() == ["00000.tar"] * 2
    raw = (tmp_path / "00000.tar").read_bytes()
    for i, (start, size) in enumerate(got.select("tar_offset", "tar_bytes").rows()):
        assert raw[start : start + size] == b"\xff\xd8" + bytes(i + 1)
    assert got["caption"].to_list() == CAPTIONS
    assert got["url"].to_list() == URLS
    assert got["uid"].to_list() == [UID, UID]
    assert got["pool_sha256"].to_list() == [SHA, SHA]
    assert got["pool_key"].to_list() == ["000000000", "000000001"]
    assert got["original_width"].to_list() == [1024, 1024]
    assert {"width", "height", "status", "key", "exif"}.isdisjoint(got.columns)
    assert got["other_fields"].null_count() == 2

    table = read(tmp_path / "00000.parquet", preset="img2dataset")
    assert table["caption"].to_list() == CAPTIONS
    assert table["pool_status"].to_list() == ["success", "failed_to_download"]
    assert {"width", "key", "exif"}.isdisjoint(table.columns)


def test_every_preset_says_what_it_follows() -> None:
    assert all(len(p.follows) > 40 for p in PRESETS.values())
    assert {"datacomp", "laion", "cc3m", "cc12m", "coyo", "redcaps", "sbu", "wit", "wukong", "img2dataset"} <= set(
        PRESETS
    )

"""The published pool schemas, as data: which of their columns is what, and our names for the rest.

Names that two publishers use for one thing become one name, so that a rule works on both: ``original_width`` and
``original_height`` (pixels of the image as found), ``clip_b32_similarity_score`` and ``clip_l14_similarity_score``
(cosine similarity by OpenAI's CLIP ViT-B/32 and ViT-L/14, the names DataComp gave). Everything else keeps its
published name; a name that pairmill measures itself gets the prefix ``pool_`` (``sha256`` becomes
``pool_sha256``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

PoolFormat = Literal["auto", "parquet", "csv", "tsv", "jsonl", "json", "files", "tars", "documents"]
FieldType = Literal["string", "int", "float", "bool"]


@dataclass(frozen=True)
class Preset:
    """One published schema.

    ``columns`` maps uid, url, path or caption to the publisher's columns; of several that are there, a row takes the
    first that is not null. ``renames`` maps further columns to our names, ``drop`` leaves some out.
    ``header`` names the columns of files without a header line, ``quoting`` is false where a quote is just a letter.
    """

    follows: str
    format: PoolFormat = "auto"
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    renames: dict[str, str] = field(default_factory=dict)
    dtypes: dict[str, FieldType] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    header: tuple[str, ...] | None = None
    quoting: bool = True


_LAION_NAMES = {
    "SAMPLE_ID": "sample_id",
    "WIDTH": "original_width",
    "HEIGHT": "original_height",
    "LICENSE": "license",
    "NSFW": "nsfw",
    "LANGUAGE": "language",
    "AESTHETIC_SCORE": "aesthetic",
    "hash": "laion_hash",
}

_LAION_COLUMNS: dict[str, tuple[str, ...]] = {"url": ("URL", "url"), "caption": ("TEXT", "caption")}

PRESETS: dict[str, Preset] = {
    "datacomp": Preset(
        follows="mlfoundations/datacomp_small … _1b cards (2023): uid, url, text, original_width, original_height,"
        " clip_b32_similarity_score, clip_l14_similarity_score, face_bboxes, sha256",
        columns={"caption": ("text",)},
    ),
    "laion": Preset(
        follows="LAION-400M and laion2B-en cards (2021, 2022), the -joined and -aesthetic sets: SAMPLE_ID, URL,"
        " TEXT, HEIGHT, WIDTH, LICENSE, NSFW, similarity (ViT-B/32), punsafe, pwatermark, aesthetic, hash",
        columns=_LAION_COLUMNS,
        renames={**_LAION_NAMES, "similarity": "clip_b32_similarity_score"},
    ),
    "laion_multi": Preset(
        follows="laion2B-multi and laion1B-nolang cards (2022): laion with LANGUAGE; similarity by multilingual CLIP",
        columns=_LAION_COLUMNS,
        renames={**_LAION_NAMES, "similarity": "mclip_similarity_score"},
    ),
    "cc3m": Preset(
        follows="Conceptual Captions, Train_GCC-training.tsv (2018): caption, url, no header line, no quoting",
        format="tsv",
        header=("caption", "url"),
        quoting=False,
    ),
    "cc12m": Preset(
        follows="Conceptual 12M, cc12m.tsv (2021): url, caption, no header line, no quoting",
        format="tsv",
        header=("url", "caption"),
        quoting=False,
    ),
    "coyo": Preset(
        follows="COYO-700M v1.0.0 README (2022): id, url, text, width, height, image_phash, text_length, word_count, …",
        columns={"caption": ("text",)},
        renames={
            "width": "original_width",
            "height": "original_height",
            "clip_similarity_vitb32": "clip_b32_similarity_score",
            "clip_similarity_vitl14": "clip_l14_similarity_score",
        },
    ),
    "redcaps": Preset(
        follows="RedCaps v1.0 annotations (2021), one json a subreddit and year: {info, annotations: [image_id, author,"
        " url, raw_caption, caption, subreddit, score, created_utc, permalink, crosspost_parents]}; image_url in the"
        " hub's tables",
        columns={"url": ("url", "image_url")},
    ),
    "sbu": Preset(
        follows="sbu-captions-all.json (2011, as served by Rice): one object of three equal lists image_urls, user_ids,"
        " captions; image_url, user_id, caption in the hub's tables",
        columns={"url": ("image_urls", "image_url"), "caption": ("captions", "caption")},
        renames={"user_ids": "user_id"},
    ),
    "wit": Preset(
        follows="WIT v1 DATA.md (2021), wit_v1.train.all-*.tsv.gz, 17 columns; caption is the reference description,"
        " else the alt text, else the attribution, and the three stay as columns",
        columns={
            "url": ("image_url",),
            "caption": (
                "caption_reference_description",
                "caption_alt_text_description",
                "caption_attribution_description",
            ),
        },
        dtypes={"is_main_image": "bool", "attribution_passes_lang_id": "bool", "page_changed_recently": "bool"},
    ),
    "wukong": Preset(
        follows="Noah-Wukong 100M (2022), wukong_100m_0.csv … _255.csv with the header line url,caption",
        format="csv",
    ),
    "img2dataset": Preset(
        follows="img2dataset 1.47 output: tars, or the parquet beside them: url, caption, key, status, error_message,"
        " width, height (stored), original_width, original_height, exif, sha256; further columns pass",
        drop=("key", "error_message", "width", "height", "exif"),
    ),
}

"""One pass over rows: pictures decoded once, batches of one size, nothing lost to a bad neighbour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from PIL import Image

from pairmill.sharding.errors import PairmillError
from pairmill.transforms.score import picture_pass
from pairmill.transforms.score.clip_scorer import ClipScorer
from pairmill.transforms.score.engine import measure_rows
from pairmill.transforms.score.scorer import (
    LoadedHead,
    LoadedImageScorer,
    LoadedTextScorer,
    Measures,
    Scorer,
    column_name,
    scorer_identity,
)
from pairmill.transforms.score.settings import InferenceSettings

Forward = Callable[[npt.NDArray[np.uint8]], Measures]


def settings(threads: int = 2, batch_size: int | None = None) -> InferenceSettings:
    return InferenceSettings(device="cpu", threads=threads, batch_size=batch_size)


def mean(batch: npt.NDArray[np.uint8]) -> Measures:
    return {"score": batch.reshape(len(batch), -1).mean(axis=1, dtype=np.float32)}


@dataclass(frozen=True, kw_only=True)
class Brightness(Scorer):
    """The mean of a small picture; ``forward`` may be another function."""

    kind: ClassVar[str] = "brightness"
    source: ClassVar[str] = "this test"
    reads: ClassVar[Literal["image", "text"]] = "image"
    on_device: ClassVar[bool] = False

    forward: Forward = mean
    loads: ClassVar[int] = 0

    def columns(self, name: str) -> dict[str, pl.DataType]:
        return {f"{name}_score": pl.Float32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        return {"side": 4}

    def load(self, device: str, precision: str) -> LoadedImageScorer:
        type(self).loads += 1
        return LoadedBrightness(self.forward)


class LoadedBrightness(LoadedImageScorer):
    input_shape = (4, 4, 3)

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def prepare(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        if image.width > 5 * image.height:
            raise ValueError("too long")
        return np.asarray(image.resize((4, 4)))

    def forward(self, batch: Any) -> Measures:
        return self._forward(batch)


@dataclass(frozen=True, kw_only=True)
class Letters(Scorer):
    """The share of a letter in texts; NaN for the text ``nothing``."""

    kind: ClassVar[str] = "letters"
    source: ClassVar[str] = "this test"
    reads: ClassVar[Literal["image", "text"]] = "text"
    on_device: ClassVar[bool] = False

    texts: tuple[str, ...] = ("caption",)

    def columns(self, name: str) -> dict[str, pl.DataType]:
        columns: dict[str, pl.DataType] = {}
        for text in self.texts:
            columns[column_name(name, "score", text)] = pl.Float32()
            columns[column_name(name, "long", text)] = pl.Boolean()
            columns[column_name(name, "outcome", text)] = pl.String()
        return columns

    def text_columns(self) -> tuple[str, ...]:
        return self.texts

    def identity(self) -> dict[str, Any]:
        return {}

    def load(self, device: str, precision: str) -> LoadedTextScorer:
        return LoadedLetters()


class LoadedLetters(LoadedTextScorer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def score(self, texts: Sequence[str]) -> Measures:
        self.seen += texts
        shares = [np.nan if text == "nothing" else text.count("e") / len(text) for text in texts]
        return {"score": np.array(shares, np.float32), "long": np.array([len(text) > 6 for text in texts])}


@dataclass(frozen=True, kw_only=True)
class FirstNumber(Scorer):
    """A head: the first number of an embedding."""

    kind: ClassVar[str] = "first"
    source: ClassVar[str] = "this test"
    reads: ClassVar[Literal["image", "text"]] = "image"

    on: str
    raw: bool = False

    @property
    def embedder(self) -> str | None:
        return self.on

    def check_embedder(self, embedder: Scorer) -> None:
        if embedder.embedding_width() != 16:
            raise ValueError("another width")

    def columns(self, name: str) -> dict[str, pl.DataType]:
        return {f"{name}_score": pl.Float32(), f"{name}_outcome": pl.String()}

    def identity(self) -> dict[str, Any]:
        return {"raw": self.raw}

    def load(self, device: str, precision: str) -> LoadedHead:
        head = LoadedFirst()
        head.embedding = "raw" if self.raw else "normalised"
        return head


class LoadedFirst(LoadedHead):
    def score(self, embeddings: npt.NDArray[np.float32]) -> Measures:
        return {"score": embeddings[:, 0]}


def test_scores_are_bit_equal_for_any_number_of_threads(tiny_clip: Path, spool: Any) -> None:
    rows = spool.many(70)
    scorers = {"clip": ClipScorer(model=str(tiny_clip), embeddings=("image", "text")), "light": Brightness()}
    one = measure_rows(scorers, rows, spool.read, settings(threads=1)).frames
    for threads in (2, 4):
        again = measure_rows(scorers, rows, spool.read, settings(threads)).frames
        assert all(again[name].equals(one[name]) for name in scorers)


def test_a_pictures_score_depends_on_no_neighbour(tiny_clip: Path, spool: Any) -> None:
    rows = spool.many(40)
    scorers = {"clip": ClipScorer(model=str(tiny_clip))}
    alone = measure_rows(scorers, rows, spool.read, settings()).frames["clip"]
    bodies = [spool.picture(90 + number) for number in range(40)]
    others = spool.rows(bodies, spool.captions(40, seed=9))
    mixed = pl.concat([rows[:16], others[16:20], rows[20:]])
    frame = measure_rows(scorers, mixed, spool.read, settings()).frames["clip"]
    assert frame[:16].equals(alone[:16])
    assert frame[20:].equals(alone[20:])


def test_bad_rows_have_their_outcome_and_cost_no_neighbour(tiny_clip: Path, spool: Any) -> None:
    good = [spool.picture(number) for number in range(12)]
    bodies: list[bytes | None] = list(good)
    bodies[2] = good[2][: len(good[2]) // 2]
    bodies[3] = b"GIF89a and so on"
    bodies[4] = None
    bodies[5] = b""
    bodies[6] = spool.picture(6, 400, 20)
    captions: list[str | None] = list(spool.captions(12))
    captions[6], captions[7], captions[8] = None, " \n\t", ""
    scorers = {"clip": ClipScorer(model=str(tiny_clip), embeddings=("image",)), "light": Brightness()}
    whole = measure_rows(scorers, spool.rows(good, spool.captions(12)), spool.read, settings()).frames
    frames = measure_rows(scorers, spool.rows(bodies, captions), spool.read, settings()).frames
    light, clip = frames["light"], frames["clip"]
    failed = [None, None, "decode_failed", "decode_failed", "no_image", "decode_failed"]
    assert light["light_outcome"].to_list() == [*failed, "prepare_failed", *[None] * 5]
    assert clip["clip_outcome"].to_list() == [*failed, "no_text", "no_text", "no_text", *[None] * 3]
    for frame, name, column in ((light, "light", "light_score"), (clip, "clip", "clip_similarity")):
        measured = frame[f"{name}_outcome"].is_null()
        assert (frame[column].is_not_null() == measured).all()
        assert frame[column].filter(measured).equals(whole[name][column].filter(measured))
    assert clip["clip_image_embedding"].is_null().to_list() == [*[False] * 2, *[True] * 4, *[False] * 6]


def test_equal_pictures_are_read_once_and_share_their_decode(
    tiny_clip: Path, spool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = picture_pass.decode_stored

    def count(body: bytes) -> Image.Image:
        decoded.append(len(body))
        return decode(body)

    monkeypatch.setattr(picture_pass, "decode_stored", count)
    rows = spool.many(20)
    doubled = pl.concat([rows, rows.with_columns(row_id=pl.col("row_id") + 100)])
    scorers = {"clip": ClipScorer(model=str(tiny_clip)), "a": Brightness(), "b": Brightness()}
    measured = measure_rows(scorers, doubled, spool.read, settings())
    assert sorted(spool.reads) == sorted(rows.select("spool", "spool_offset", "stored_bytes").rows())
    assert len(decoded) == 20
    assert (measured.timing.pairs, measured.timing.pictures) == (40, 20)
    for frame in measured.frames.values():
        assert frame["row_id"].to_list() == doubled["row_id"].to_list()
        assert frame[:20].drop("row_id").equals(frame[20:].drop("row_id"))


def test_every_batch_has_the_same_size(spool: Any) -> None:
    sizes: list[int] = []

    def forward(batch: npt.NDArray[np.uint8]) -> Measures:
        sizes.append(len(batch))
        return mean(batch)

    measure_rows({"light": Brightness(forward=forward)}, spool.many(41), spool.read, settings(batch_size=10))
    assert sizes == [10] * 5


def test_nan_and_infinity_are_null_with_their_outcome(spool: Any) -> None:
    def forward(batch: npt.NDArray[np.uint8]) -> Measures:
        scores = mean(batch)["score"]
        scores[1], scores[3] = np.nan, np.inf
        return {"score": scores}

    frame = measure_rows({"x": Brightness(forward=forward)}, spool.many(6), spool.read, settings()).frames["x"]
    assert frame["x_outcome"].to_list() == [None, "not_finite", None, "not_finite", None, None]
    assert frame["x_score"].is_null().to_list() == [False, True, False, True, False, False]


def test_a_clip_that_returns_nan_is_null_with_its_outcome(make_clip: Any, spool: Any) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_clip()
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["visual.proj"][0, 0] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    scorers = {"clip": ClipScorer(model=str(folder), embeddings=("image", "text")), "first": FirstNumber(on="clip")}
    frames = measure_rows(scorers, spool.many(5), spool.read, settings()).frames
    assert frames["clip"]["clip_outcome"].to_list() == ["not_finite"] * 5
    assert frames["clip"]["clip_image_embedding"].null_count() == 5
    assert frames["clip"]["clip_text_embedding"].null_count() == 0
    assert frames["first"]["first_outcome"].to_list() == ["not_finite"] * 5


class OutOfMemoryError(RuntimeError):
    """As ``torch.cuda.OutOfMemoryError`` is called."""


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        MemoryError(),
    ],
    ids=["cuda", "cpu", "cublas", "python"],
)
def test_where_memory_ends_the_batch_is_halved_and_stays_so(spool: Any, error: Exception) -> None:
    sizes: list[int] = []

    def forward(batch: npt.NDArray[np.uint8]) -> Measures:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise error
        return mean(batch)

    rows = spool.many(20)
    whole = measure_rows({"x": Brightness()}, rows, spool.read, settings()).frames["x"]
    scorers = {"x": Brightness(forward=forward)}
    frame = measure_rows(scorers, rows, spool.read, settings(threads=1, batch_size=10)).frames["x"]
    assert frame.equals(whole)
    assert sizes == [10, 5, *[2] * 5, *[2] * 5]
    measure_rows(scorers, rows, spool.read, settings(threads=1, batch_size=10))
    assert sizes[12:] == [2] * 10


def test_no_memory_for_one_picture_ends_the_run_with_one_line(spool: Any) -> None:
    def forward(batch: npt.NDArray[np.uint8]) -> Measures:
        raise MemoryError("none left")

    with pytest.raises(PairmillError, match=r"brightness: no memory on cpu for even one item \(none left\)"):
        measure_rows({"x": Brightness(forward=forward)}, spool.many(9), spool.read, settings())


def test_another_error_of_a_model_ends_the_run_and_leaves_no_thread_at_work(spool: Any) -> None:
    started = threading.Event()

    def forward(batch: npt.NDArray[np.uint8]) -> Measures:
        started.set()
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        measure_rows({"x": Brightness(forward=forward)}, spool.many(60), spool.read, settings(batch_size=4))
    assert started.is_set()
    reads = len(spool.reads)
    assert reads < 60
    again = measure_rows({"y": Brightness()}, spool.many(3), spool.read, settings())
    assert len(spool.reads) == reads + 3
    assert again.frames["y"]["y_score"].null_count() == 0


def test_a_spool_that_cannot_be_read_ends_the_run(spool: Any) -> None:
    def read(*_: Any) -> bytes:
        raise PairmillError("s.tar is missing")

    with pytest.raises(PairmillError, match=r"s\.tar is missing"):
        measure_rows({"x": Brightness()}, spool.many(3), read, settings())


def test_heads_read_the_embeddings_of_the_same_pass(tiny_clip: Path, spool: Any) -> None:
    from pairmill.sharding.embeddings import unpack_fp16

    rows = spool.many(20)
    scorers = {
        "unit": FirstNumber(on="clip"),
        "clip": ClipScorer(model=str(tiny_clip), embeddings=("image",)),
        "raw": FirstNumber(on="clip", raw=True),
    }
    frames = measure_rows(scorers, rows, spool.read, settings()).frames
    stored = unpack_fp16(frames["clip"]["clip_image_embedding"], 16)[:, 0]
    assert np.abs(frames["unit"]["unit_score"].to_numpy() - stored).max() < 1e-3
    ratio = frames["raw"]["raw_score"] / frames["unit"]["unit_score"]
    assert ratio.min() > 0
    assert ratio.std() > 1e-3  # lengths, of which each picture has its own
    assert len(spool.reads) == 20


def test_text_scorers_read_texts_alone_and_each_once(spool: Any) -> None:
    rows = pl.DataFrame(
        {
            "row_id": pl.Series([4, 5, 6, 7], dtype=pl.UInt64),
            "caption": ["eel", "nothing", None, "eel"],
            "recaption": ["eagle's eye", " ", "eel", None],
        }
    )
    scorer = Letters(texts=("caption", "recaption"))
    frame = measure_rows({"e": scorer}, rows, spool.read, settings(batch_size=1)).frames["e"]
    assert frame["e_score"].to_list() == [pytest.approx(2 / 3), None, None, pytest.approx(2 / 3)]
    assert frame["e_outcome"].to_list() == [None, "not_finite", "no_text", None]
    assert frame["e_long"].to_list() == [False, None, None, False]
    assert frame["e_long_recaption"].to_list() == [True, None, False, None]
    assert frame["e_outcome_recaption"].to_list() == [None, "no_text", None, "no_text"]
    assert not spool.reads


def test_a_model_is_loaded_once_a_process(spool: Any) -> None:
    Brightness.loads = 0
    rows = spool.many(4)
    for _ in range(2):
        measure_rows({"a": Brightness(), "b": Brightness()}, rows, spool.read, settings())
    assert Brightness.loads == 1


def test_no_rows_give_empty_columns_of_the_right_types(tiny_clip: Path, spool: Any) -> None:
    scorers = {"clip": ClipScorer(model=str(tiny_clip), embeddings=("image", "text")), "first": FirstNumber(on="clip")}
    frames = measure_rows(scorers, spool.many(2)[:0], spool.read, settings()).frames
    for name, scorer in scorers.items():
        assert frames[name].schema == pl.Schema({"row_id": pl.UInt64(), **scorer.columns(name)})
        assert frames[name].height == 0


def test_rows_without_any_picture_are_told(tiny_clip: Path, spool: Any) -> None:
    scorers = {"clip": ClipScorer(model=str(tiny_clip)), "first": FirstNumber(on="clip")}
    frames = measure_rows(scorers, spool.rows([None, None], ["a", "b"]), spool.read, settings()).frames
    assert frames["clip"]["clip_outcome"].to_list() == ["no_image"] * 2
    assert frames["first"]["first_outcome"].to_list() == ["no_image"] * 2


def test_heads_on_nothing_and_columns_written_twice_are_told(tiny_clip: Path, spool: Any) -> None:
    rows, clip = spool.many(1), ClipScorer(model=str(tiny_clip))
    for scorers, told in (
        ({"first": FirstNumber(on="clip")}, "scorers.first: there is no scorer 'clip'"),
        ({"light": Brightness(), "first": FirstNumber(on="light")}, "light is a brightness, which gives no image"),
        ({"e": Letters(texts=("caption", "x")), "e_score": Brightness()}, None),
        ({"e": Letters(texts=("score",)), "e_score": Brightness()}, "both write the column e_score_score"),
        ({"clip": clip, "first": FirstNumber(on="clip")}, None),
    ):
        if told is None:
            measure_rows(scorers, rows.with_columns(x=pl.lit("eel")), spool.read, settings())
            continue
        with pytest.raises(ValueError, match=told):
            measure_rows(scorers, rows, spool.read, settings())


def test_a_heads_identity_holds_that_of_its_embeddings(tiny_clip: Path) -> None:
    scorers = {"clip": ClipScorer(model=str(tiny_clip)), "first": FirstNumber(on="clip", raw=True)}
    identity = scorer_identity(scorers, "first", "bf16")
    assert identity["raw"] is True
    assert identity["precision"] == "bf16"
    assert identity["embedder"]["sha256"] == scorers["clip"].identity()["sha256"]


def test_timing_tells_where_the_time_goes(tiny_clip: Path, spool: Any) -> None:
    timing = measure_rows({"clip": ClipScorer(model=str(tiny_clip))}, spool.many(20), spool.read, settings()).timing
    assert min(timing.decode_s, timing.preprocess_s, timing.forward_s, timing.wall_s) > 0
    assert sum(timing.shares.values()) == pytest.approx(1)
    assert timing.binds in timing.told()
    assert timing.device_busy_s == 0


def test_two_calls_at_a_time_do_not_mix(tiny_clip: Path, spool: Any) -> None:
    scorers = {"clip": ClipScorer(model=str(tiny_clip)), "light": Brightness()}
    frames = [spool.many(30), spool.many(45)]
    expected = [measure_rows(scorers, rows, spool.read, settings()).frames for rows in frames]
    with ThreadPoolExecutor(2) as callers:
        found = list(callers.map(lambda rows: measure_rows(scorers, rows, spool.read, settings()).frames, frames * 3))
    for frames_of_one, expected_of_one in zip(found, expected * 3, strict=True):
        assert all(frames_of_one[name].equals(expected_of_one[name]) for name in scorers)

"""``pairmill search`` over a small dataset whose embeddings open_clip itself made, with a CLIP of random weights."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from pairmill.runners.cli import main
from pairmill.sharding.embeddings import EmbeddingFormat, describe_embeddings, write_embeddings
from pairmill.sharding.manifest import Manifest, read_manifest, sum_other_files, write_manifest
from pairmill.sharding.shard import ShardSample, write_shard
from pairmill.sharding.stats_cli import main as shard_stats
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.image.store import StoredImage, store_image

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")

SAMPLES = 24
SHARD_SAMPLES = 8
WITHOUT = 5  # the sample that has no embeddings
HOSTILE = 7
CAPTIONS = [f"picture number {number} in words of its own" for number in range(SAMPLES)]
CAPTIONS[HOSTILE] = "<script>alert(1)</script>\x1b[2J\nof two lines"
CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def picture(number: int) -> bytes:
    """A PNG of coloured patches, larger than what the recipe stores."""
    patches = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(patches).resize((150 + number, 120), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def make_model(folder: Path, seed: int) -> Path:
    """A CLIP of random weights, as open_clip saves one for its hub."""
    from open_clip.factory import _MODEL_CONFIGS
    from safetensors.torch import save_file

    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    torch.manual_seed(seed)
    _MODEL_CONFIGS["tiny-for-tests"] = CONFIG["model_cfg"]
    try:
        model = open_clip.create_model("tiny-for-tests", load_weights=False)
    finally:
        del _MODEL_CONFIGS["tiny-for-tests"]
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@dataclass(frozen=True)
class World:
    """A finished build, its model, and the embeddings of its samples as open_clip gives them."""

    build: Path
    model: Path
    images: np.ndarray
    texts: np.ndarray
    stored: list[bytes]
    text: Callable[[str], np.ndarray]

    def edit(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.build / name
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    model_folder = make_model(folder / "model", 0)
    stored = []
    for number in range(SAMPLES):
        image = store_image(picture(number), ImageSettings(size=96))
        assert isinstance(image, StoredImage)
        stored.append(image.data)
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{model_folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{model_folder}")
    model.eval()

    def embed_text(text: str) -> np.ndarray:
        with torch.no_grad():
            vector: np.ndarray = model.encode_text(tokenizer([text]), normalize=True)[0].numpy()
        return vector

    with torch.no_grad():
        batch = torch.stack([preprocess(Image.open(io.BytesIO(data)).convert("RGB")) for data in stored])
        images = model.encode_image(batch, normalize=True).numpy()
    texts = np.stack([embed_text(caption) for caption in CAPTIONS])
    images[WITHOUT] = texts[WITHOUT] = 0
    build = folder / "build"
    write_dataset(build / "dataset", model_folder, stored, {"image": images, "text": texts})
    record = {"format": "pairmill-build", "scorers": {"clip": {"clip": {"model": str(model_folder)}}}}
    (build / "build.json").write_text(json.dumps(record))
    return World(build, model_folder, images, texts, stored, embed_text)


def write_dataset(folder: Path, model: Path, stored: list[bytes], embeddings: dict[str, np.ndarray]) -> None:
    from pairmill.transforms.score.clip_model import find_clip

    identity = {"kind": "clip", "version": 1, "precision": "fp32", **find_clip(str(model), None, None, None).identity()}
    (folder / "metadata").mkdir(parents=True)
    shards = {}
    written: dict[str, list[Any]] = {kind: [] for kind in embeddings}
    for first in range(0, SAMPLES, SHARD_SAMPLES):
        shard = f"train-{first // SHARD_SAMPLES:05d}-of-{SAMPLES // SHARD_SAMPLES:05d}"
        here = range(first, first + SHARD_SAMPLES)
        write_shard(folder / shard, (ShardSample(f"k{i:02d}", stored[i], "jpg", CAPTIONS[i], b"{}") for i in here))
        table = {
            "key": [f"k{i:02d}" for i in here],
            "shard": [shard] * SHARD_SAMPLES,
            "index": list(range(SHARD_SAMPLES)),
            "caption": [CAPTIONS[i] for i in here],
            "url": [f"http://pool.example/{i}.png" for i in here],
        }
        pl.DataFrame(table).write_parquet(folder / "metadata" / f"{shard}.parquet")
        for kind, vectors in embeddings.items():
            told = (folder, "clip", kind, shard)
            written[kind].append(write_embeddings(*told, [vectors[list(here)]], SHARD_SAMPLES, EmbeddingFormat()))
        shards[shard] = SHARD_SAMPLES
    for kind, files in written.items():
        describe_embeddings(folder, "clip", kind, files, EmbeddingFormat(), identity)
    write_manifest(
        folder,
        Manifest(
            splits={"train": shards},
            files=sum_other_files(folder, {}),
            seed=0,
            record={},
            recipe_text="image:\n  size: 96\n",
        ),
    )


@pytest.fixture
def world(original: World, tmp_path: Path) -> World:
    """A copy that a test may change."""
    build = Path(shutil.copytree(original.build, tmp_path / "build"))
    return World(build, original.model, original.images, original.texts, original.stored, original.text)


Asked = Callable[..., dict[str, Any]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Asked:
    """Run ``pairmill search --json`` to a good end without a word on stderr, and return the object."""

    def run(world: World, *arguments: str | Path) -> dict[str, Any]:
        code = main(["search", str(world.build), "--json", *map(str, arguments)])
        output = capsys.readouterr()
        assert (code, output.err) == (0, "")
        return dict(json.loads(output.out))

    return run


Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command to a bad end, which is told in one line; returns the line."""

    def run(*arguments: str | Path, code: int = 2) -> str:
        assert main([*map(str, arguments)]) == code
        output = capsys.readouterr()
        assert (output.out, output.err.count("\n")) == ("", 1)
        assert output.err.startswith("pairmill: ")
        return output.err

    return run


def numbers(answer: dict[str, Any]) -> list[int]:
    return [int(pair["key"][1:]) for pair in answer["pairs"]]


def test_a_text_finds_what_open_clip_finds(original: World, ask: Asked) -> None:
    text = "a picture of a cat, in rather more words than the sixteen tokens that this model takes in"
    cosines = original.images @ original.text(text)
    cosines[WITHOUT] = -2
    answer = ask(original, text, "--top", "6")
    assert numbers(answer) == np.argsort(-cosines)[:6].tolist()
    assert [pair["similarity"] for pair in answer["pairs"]] == pytest.approx(np.sort(cosines)[::-1][:6], abs=2e-3)
    assert (answer["scorer"], answer["kind"], answer["by"]) == ("clip", "image", "exact")
    first = answer["pairs"][0]
    number = numbers(answer)[0]
    assert first == {
        "rank": 1,
        "similarity": first["similarity"],
        "shard": f"train-{number // SHARD_SAMPLES:05d}-of-00003",
        "index": number % SHARD_SAMPLES,
        "key": f"k{number:02d}",
        "caption": CAPTIONS[number],
        "url": f"http://pool.example/{number}.png",
    }


def test_an_image_finds_itself_through_the_recipes_own_storing(original: World, ask: Asked, tmp_path: Path) -> None:
    (tmp_path / "query.png").write_bytes(picture(11))
    answer = ask(original, "--image", tmp_path / "query.png", "--top", "3")
    assert numbers(answer)[0] == 11
    assert answer["pairs"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    cosines = original.images @ original.images[11]
    assert [pair["similarity"] for pair in answer["pairs"]] == pytest.approx(np.sort(cosines)[::-1][:3], abs=2e-3)


def test_captions_are_searched_too(original: World, ask: Asked) -> None:
    answer = ask(original, CAPTIONS[17], "--in", "text", "--top", "100")
    assert numbers(answer)[0] == 17
    assert answer["pairs"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert sorted(numbers(answer)) == [number for number in range(SAMPLES) if number != WITHOUT]


def test_what_a_person_sees_cannot_move_the_cursor(original: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(original.build), CAPTIONS[HOSTILE], "--in", "text", "--top", "2"]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output
    first, caption, url = output.splitlines()[:3]
    assert first.split()[0] == "1"
    assert first.split()[2:] == [f"k{HOSTILE:02d}", "train-00000-of-00003"]
    assert caption.strip() == r"<script>alert(1)</script>\x1b[2J of two lines"
    assert url.strip() == f"http://pool.example/{HOSTILE}.png"
    assert len(output.splitlines()) == 6


def test_saved_images_are_the_stored_ones(original: World, ask: Asked, tmp_path: Path) -> None:
    folder = tmp_path / "found"
    answer = ask(original, "<b>anything", "--save", folder, "--top", "23")
    assert len(list(folder.iterdir())) == 23 + 2
    for pair, number in zip(answer["pairs"], numbers(answer), strict=True):
        assert (folder / f"{pair['rank']:03}-{pair['key']}.jpg").read_bytes() == original.stored[number]
    page = (folder / "index.html").read_text()
    assert page.count("<img ") == 23
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert json.loads((folder / "pairs.json").read_text()) == answer["pairs"]


def test_an_index_is_made_used_and_left_alone_when_it_is_old(
    world: World, ask: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("usearch")
    exact = ask(world, "anything", "--top", "5")
    assert main(["index", str(world.build)]) == 0
    told = capsys.readouterr().out
    assert "23 embeddings" in told
    assert "100.0% of the ten nearest (measured with 23 text embeddings)" in told
    by_index = ask(world, "anything", "--top", "5")
    assert (exact["by"], by_index["by"]) == ("exact", "index")
    assert numbers(by_index) == numbers(exact)
    assert ask(world, "anything", "--exact")["by"] == "exact"
    manifest = read_manifest(world.build / "dataset")
    write_manifest(world.build / "dataset", replace(manifest, seed=1))
    assert ask(world, "anything")["by"] == "exact"
    assert sorted(path.suffix for path in (world.build / "index").iterdir()) == [".json", ".usearch"]
    assert not list((world.build / "dataset").rglob("*.usearch"))


def test_a_damaged_index_is_told_and_passed_over(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("usearch")
    assert main(["index", str(world.build)]) == 0
    (index,) = (world.build / "index").glob("*.usearch")
    index.write_bytes(b"no index")
    capsys.readouterr()
    assert main(["search", str(world.build), "anything", "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["by"] == "exact"
    assert "is damaged; remove it" in output.err
    assert output.err.count("\n") == 1


def test_a_dataset_without_its_build(world: World, ask: Asked, refused: Refused) -> None:
    expected = ask(world, "anything")
    (world.build / "build.json").unlink()
    dataset = World(world.build / "dataset", *list(vars(world).values())[1:])
    assert "name it with --model" in refused("search", dataset.build, "anything")
    assert ask(dataset, "anything", "--model", world.model) == expected


def test_a_model_that_moved(world: World, ask: Asked, refused: Refused, tmp_path: Path) -> None:
    expected = ask(world, "anything")
    moved = Path(shutil.copytree(world.model, tmp_path / "moved"))
    world.edit("build.json", lambda record: record["scorers"]["clip"]["clip"].update(model=str(tmp_path / "gone")))
    told = refused("search", world.build, "anything")
    assert str(tmp_path / "gone") in told
    assert ask(world, "anything", "--model", moved) == expected


def test_another_model_is_refused(world: World, refused: Refused, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", 1)
    told = refused("search", world.build, "anything", "--model", other)
    assert "another sha256 than the one that made the embeddings" in told


def test_which_embeddings(world: World, ask: Asked, refused: Refused) -> None:
    assert "--scorer dfn: " in refused("search", world.build, "x", "--scorer", "dfn")
    assert "it has those of clip" in refused("search", world.build, "x", "--scorer", "dfn")
    assert "there are: image, text" in refused("search", world.build, "x", "--in", "audio")
    folder = world.build / "dataset" / "embeddings"
    shutil.copytree(folder / "clip", folder / "dfn")
    for kind in ("image", "text"):
        world.edit(f"dataset/embeddings/dfn/{kind}.json", lambda data: data.update(scorer="dfn"))
    world.edit("build.json", lambda record: record["scorers"].update(dfn=record["scorers"]["clip"]))
    assert "embeddings of clip, dfn; choose one with --scorer" in refused("search", world.build, "x")
    assert ask(world, "x", "--scorer", "dfn")["scorer"] == "dfn"


def test_a_build_without_embeddings(world: World, refused: Refused) -> None:
    shutil.rmtree(world.build / "dataset" / "embeddings")
    for command in (["search", world.build, "x"], ["index", world.build]):
        told = refused(*command)
        assert "has no embeddings" in told
        assert "`embeddings: [image]`" in told


def test_a_build_that_is_not_finished_and_no_build(world: World, refused: Refused, tmp_path: Path) -> None:
    assert "holds no finished dataset" in refused("search", tmp_path, "x")
    (world.build / "dataset" / "manifest.json").unlink()
    assert f"pairmill status {world.build}" in refused("search", world.build, "x")


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("page.jpg", b"<html>", "not_an_image"),
        ("torn.png", picture(1)[:300], "undecodable"),
        ("none.jpg", b"", "empty_body"),
        ("gone.jpg", None, "No such file"),
    ],
)
def test_an_unreadable_image(
    original: World, refused: Refused, tmp_path: Path, name: str, data: bytes | None, told: str
) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    line = refused("search", original.build, "--image", path)
    assert f"--image {path}: " in line
    assert told in line


def test_wrong_questions(original: World, refused: Refused, tmp_path: Path) -> None:
    assert "give a text or --image" in refused("search", original.build)
    assert "give a text or --image" in refused("search", original.build, "x", "--image", "y.jpg")
    assert "--top 0: give at least 1" in refused("search", original.build, "x", "--top", "0")
    assert "there is no word in it" in refused("search", original.build, " \n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "name a new or an empty folder" in refused("search", original.build, "x", "--save", tmp_path / "full")
    assert "was asked for" in refused("search", original.build, "x", "--device", "cuda:99")
    assert "device: 'tpu'" in refused("search", original.build, "x", "--device", "tpu")


def test_damage_is_told_in_one_line(world: World, refused: Refused) -> None:
    shard = "train-00001-of-00003"
    dataset = world.build / "dataset"
    (dataset / "metadata" / f"{shard}.parquet").rename(dataset / "metadata" / "aside")
    assert f"{shard}.parquet cannot be read" in refused("search", world.build, "x", "--top", "24", code=1)
    (dataset / "embeddings" / "clip" / "image" / f"{shard}.npy").unlink()
    assert f"{shard}.npy is missing" in refused("search", world.build, "x", code=1)


def test_a_build_of_pairmill_itself(original: World, small_pool: Any, tmp_path: Path) -> None:
    """The scores, the embeddings and the search are all pairmill's: each picture finds itself, each caption its own."""
    clip = {"model": str(original.model), "embeddings": ["image", "text"]}
    recipe = small_pool.recipe(
        tmp_path / "recipe.yaml", scorers={"clip": {"clip": clip}}, embeddings={"dimensions": 8}, splits={"val": 0.2}
    )
    build = tmp_path / "build"
    assert main(["run", str(recipe), "--out", str(build), "--no-space-check", "--quiet"]) == 0
    assert shard_stats([str(build), "--verify"]) == 0
    metadata = pl.concat([pl.read_parquet(file) for file in (build / "dataset" / "metadata").glob("*.parquet")])
    assert not [name for name in metadata.columns if "embedding" in name]
    for number in (0, 9, 20):
        path = f"{'sub/' if number % 3 == 0 else ''}p{number:02d}.jpg"
        save = tmp_path / f"found-{number}"
        found = ["search", str(build), "--image", str(small_pool.folder / path), "--top", "1", "--save", str(save)]
        assert main(found) == 0
        (pair,) = json.loads((save / "pairs.json").read_text())
        assert (pair["path"], pair["similarity"]) == (path, pytest.approx(1, abs=2e-3))
        assert (save / f"001-{pair['key']}.jpg").read_bytes()[:2] == b"\xff\xd8"
    told = tmp_path / "told"
    assert main(["search", str(build), "picture number 13", "--in", "text", "--top", "1", "--save", str(told)]) == 0
    (pair,) = json.loads((told / "pairs.json").read_text())
    assert (pair["caption"], pair["similarity"]) == ("picture number 13", pytest.approx(1, abs=2e-3))

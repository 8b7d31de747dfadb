from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pairmill.pipeline.demo.forms import picture_file
from pairmill.pipeline.demo.grammar import caption
from pairmill.pipeline.demo.scene import scene_at
from pairmill.pipeline.demo.training import __main__ as command
from pairmill.pipeline.demo.training import clip
from pairmill.pipeline.demo.training.clip_data import pair_batch
from pairmill.pipeline.demo.training.clip_measure import BARS, SmallClip, auc, measure_clip
from pairmill.pipeline.demo.training.labels import FACTS, NONE, fact_labels
from pairmill.pipeline.demo.training.pictures import HELD_OUT_SEED, TRAINING_SEED
from pairmill.pipeline.demo.training.record import flat, missed, read_record
from pairmill.transforms.model_folder import read_model_folder, weight_file_sha256

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

FOLDER = command.TRAINED / "clip"


@pytest.fixture(scope="module")
def trained() -> SmallClip:
    return SmallClip(FOLDER)


def test_the_trained_model_is_the_recorded_one_and_small():
    record = read_record(FOLDER)
    folder = read_model_folder(FOLDER, kinds=["open_clip"])
    assert {path.name: weight_file_sha256(path) for path in folder.weights} == record["weights_sha256"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000
    assert not missed(record["measured"], BARS)


@pytest.mark.slow
def test_the_trained_model_reaches_its_bars_and_the_recorded_numbers():
    recorded = read_record(FOLDER)["measured"]
    measured = measure_clip(FOLDER)
    assert not missed(measured, BARS)
    again, told = dict(flat(measured)), dict(flat(recorded))
    assert again.keys() == told.keys()
    assert {name: value for name, value in again.items() if abs(value - told[name]) > 0.01} == {}


def test_the_trained_model_tells_true_captions_from_wrong_ones():
    measured = measure_clip(FOLDER, scenes=300, rows=200)
    assert not missed(measured, BARS)
    kept = measured["pool"]["kept"]
    assert kept["mismatched"] == kept["boilerplate"] == 0


def test_one_picture_scores_the_same_by_open_clip_itself(trained):
    import io

    import open_clip
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{FOLDER}", require_pretrained=True)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{FOLDER}")
    files = [picture_file(HELD_OUT_SEED, "plain", number) for number in range(8)]
    texts = [caption(scene_at(HELD_OUT_SEED, number)) for number in range(8)]
    pictures = torch.stack([preprocess(Image.open(io.BytesIO(file))) for file in files])
    with torch.inference_mode():
        images = model.eval().encode_image(pictures, normalize=True)
        scores = images @ model.encode_text(tokenizer(texts), normalize=True).T
    ours = trained.of_pictures(files) @ trained.of_texts(texts).T
    assert np.abs(ours - scores.numpy()).max() < 1e-5


def test_weights_in_half_precision_are_what_open_clip_loads(trained):
    from safetensors.torch import load_file

    state = trained.model.state_dict()
    for name, stored in load_file(FOLDER / clip.WEIGHTS_FILE).items():
        assert stored.dtype == torch.float16
        assert state[name].dtype == torch.float32
        assert torch.equal(state[name], stored.float())


def test_a_folder_without_weights_is_refused(tmp_path):
    copy = shutil.copytree(FOLDER, tmp_path / "clip")
    (copy / clip.WEIGHTS_FILE).unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        SmallClip(copy)


def test_the_text_tower_in_parts_gives_what_open_clip_gives(trained):
    ids = pair_batch(clip.ClipSize().vision, 40, 8, TRAINING_SEED, 5, 0)[3].flatten(0, 1)
    padded = torch.nn.functional.pad(ids, (0, 40 - ids.shape[1]))
    with torch.no_grad():
        ours = clip.read_in_parts(trained.model, ids) @ trained.model.text_projection
        assert torch.allclose(ours, trained.model.encode_text(padded), atol=1e-4)


def test_scenes_of_the_same_facts_are_no_rivals():
    facts = torch.from_numpy(np.stack([fact_labels(scene_at(3, number)) for number in (0, 1, 0)]))
    assert clip.same_facts(facts).tolist() == [[True, False, True], [False, True, False], [True, False, True]]
    assert clip.same_facts(torch.full((2, len(FACTS)), NONE)).all()


def test_pairs_that_are_apart_cost_less_than_pairs_that_are_not():
    scale, bias = torch.tensor(10.0).log(), torch.tensor(-5.0)
    images = torch.eye(8)[:4]
    wrong = torch.eye(8)[4:]
    same = torch.eye(4, dtype=torch.bool)
    good = clip.pair_losses(images, torch.stack([images, wrong]), same, scale, bias)
    bad = clip.pair_losses(images, torch.stack([wrong, images]), same, scale, bias)
    assert all(good[name] < bad[name] for name in good)
    # A scene of the same facts is no wrong answer.
    twin = torch.stack([images[[0, 0, 2, 3]], wrong])
    paired = same.clone()
    paired[0, 1] = paired[1, 0] = True
    given = images[[0, 0, 2, 3]]
    assert clip.pair_losses(given, twin, paired, scale, bias)["ranked"] < 0.01
    assert clip.pair_losses(given, twin, same, scale, bias)["ranked"] > 0.3


@pytest.mark.parametrize(
    ("higher", "lower", "expected"),
    [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0), ([1, 1], [1, 1], 0.5), ([0, 2], [1, 3], 0.25)],
)
def test_auc(higher, lower, expected):
    assert auc(np.array(higher, np.float32), np.array(lower, np.float32)) == expected


@pytest.mark.slow
def test_training_from_nothing_writes_a_folder_and_its_record(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(clip, "measure", lambda folder: measure_clip(folder, scenes=100, rows=100))
    assert command.main(["clip", "--out", str(tmp_path), "--steps", "4"]) == 1  # four steps reach no bar
    told = capsys.readouterr().out
    assert "MISSED" in told
    record = read_record(tmp_path / "clip")
    courses = record["trained"]["courses"]
    assert courses["vision"]["steps"] + courses["both"]["steps"] == 4
    assert record["trained"]["seed"] == TRAINING_SEED
    assert command.main(["clip", "--out", str(tmp_path), "--measure-only"]) == 1
    assert (
        json.loads((tmp_path / "clip" / "open_clip_config.json").read_text())["preprocess_cfg"]["resize_mode"]
        == "squash"
    )


def test_a_missing_folder_is_told_in_one_line(tmp_path, capsys):
    assert command.main(["clip", "--out", str(tmp_path / "none"), "--measure-only"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_model_has_a_module():
    package = Path(command.__file__).parent
    assert all((package / f"{module}.py").is_file() for module in command.MODELS.values())

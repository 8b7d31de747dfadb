from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pairmill.pipeline.demo.training import vision
from pairmill.pipeline.demo.training.labels import FACTS, NONE, PATCH_FACTS
from pairmill.pipeline.demo.training.pictures import TRAINING_SEED, small_picture, squashed, training_scene

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("transformers")

SMALL = vision.TowerSize(image_size=32, patch_size=8, width=32, layers=2, heads=2)


@pytest.fixture
def tower():
    from open_clip.transformer import VisionTransformer

    torch.manual_seed(0)
    made = VisionTransformer(32, 8, 32, 2, 2, 4.0, output_dim=16)
    vision.start_layers(made.transformer.resblocks)
    return made.eval()


def pixels(count: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8)


def normalised(given: torch.Tensor) -> torch.Tensor:
    return ((given.float() / 255 - 0.5) / 0.25).permute(0, 3, 1, 2)


def test_attention_written_out_gives_what_open_clip_gives(tower):
    given = pixels()
    with torch.no_grad():
        whole, parts = vision.look(tower, given)
        assert torch.allclose(whole @ tower.proj, tower(normalised(given)), atol=1e-5)
    assert parts.shape == (3, 16, 32)


def test_the_tower_of_transformers_gives_what_it_gives(tower):
    given = pixels()
    state = {f"visual.{name}": tensor for name, tensor in tower.state_dict().items()}
    other = vision.hugging_face_tower(SMALL, state)
    with torch.no_grad():
        whole, parts = vision.look(tower, given)
        seen = other(normalised(given))
    assert torch.allclose(seen.pooler_output, whole, atol=1e-5)
    assert torch.allclose(seen.last_hidden_state[:, 1:], parts, atol=1e-4)


def test_the_processor_of_transformers_squashes_as_open_clip_does():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 320, 3), dtype=np.uint8))
    made = vision.hugging_face_processor(SMALL)(images=picture, return_tensors="pt").pixel_values
    ours = normalised(torch.from_numpy(squashed(picture, 32).copy())[None])
    assert (made - ours).abs().max() <= 1.01 / 255 / 0.25  # one grey level


def test_facts_that_a_scene_has_not_are_not_learnt():
    told = torch.randn(4, sum(FACTS.values()), requires_grad=True)
    labels = torch.full((4, len(FACTS)), NONE)
    labels[:, 0] = 1
    vision.fact_loss(told, labels, FACTS).backward()
    things = FACTS["thing"]
    assert told.grad[:, :things].abs().sum() > 0
    assert told.grad[:, things:].abs().sum() == 0
    right = vision.facts_right(told, labels)
    assert right.shape == labels.shape
    assert right[:, 1:].all()


def test_a_step_of_learning_lowers_the_loss(tower):
    tower.train()
    heads = vision.new_heads(32)
    made = vision.picture_batch(SMALL, 16, TRAINING_SEED, 0)
    assert made[2].shape == (16, 16, len(PATCH_FACTS))
    optimizer = torch.optim.AdamW([*tower.parameters(), *heads.parameters()], lr=1e-3)
    losses = []
    for _ in range(8):
        parts = vision.vision_losses(heads, *vision.look(tower, made[0]), *made[1:])
        loss = sum(parts.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_pictures_depend_on_their_number_and_show_what_their_box_says():
    for number in range(60):
        scene = training_scene(TRAINING_SEED, number)
        one, box = small_picture(scene, 32, TRAINING_SEED, number)
        other, _ = small_picture(scene, 32, TRAINING_SEED, number)
        assert one.shape == (32, 32, 3)
        assert (one == other).all()
        assert 0 <= box[0] < box[2] <= 1
        assert 0 <= box[1] < box[3] <= 1

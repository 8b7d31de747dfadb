"""The small CLIP: an open_clip folder with its own tokenizer, trained from nothing on the drawn world.

First the vision tower is taught the facts of scenes (``vision.py``), then both towers learn together: pictures and
captions of one scene are drawn to each other, away from the captions of other scenes and from nearly true ones, and
the text tower is taught the facts that a caption states. The last part of the loss is that of SigLIP, which judges
each pair by itself: so that one cosine is a cut for all captions.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.pipeline.demo.training import clip_measure, vision
from pairmill.pipeline.demo.training.clip_data import pair_batch
from pairmill.pipeline.demo.training.clip_tokenizer import END_ID, clip_tokenizer
from pairmill.pipeline.demo.training.course import Course, teach
from pairmill.pipeline.demo.training.labels import FACTS, STATED
from pairmill.pipeline.demo.training.pictures import TRAINING_SEED
from pairmill.pipeline.demo.training.plain_attention import through_layers
from pairmill.pipeline.demo.training.vision import DEVIATION, MEAN, TowerSize, fact_loss, look, vision_losses

if TYPE_CHECKING:
    from torch import Tensor, nn

#: From this number on are the scenes of the second part: none of them was in the first one.
_FIRST_PAIR = 1 << 32
_STATED = [list(FACTS).index(name) for name in STATED]
_START_SCALE, _START_BIAS = 10.0, -5.0
_MOST_SCALE = 60.0
WEIGHTS_FILE, CONFIG_FILE = "open_clip_model.safetensors", "open_clip_config.json"


@dataclass(frozen=True)
class ClipSize:
    """Sizes of the two towers and of what they have in common."""

    vision: TowerSize = field(default_factory=TowerSize)
    embedding: int = 128
    context_length: int = 40
    text_width: int = 128
    text_layers: int = 3
    text_heads: int = 4

    def config(self, vocabulary: int) -> dict[str, Any]:
        """``open_clip_config.json``."""
        text = {
            "context_length": self.context_length,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "pairmill-demo",  # any name will do: open_clip reads the tokenizer in the folder
            "width": self.text_width,
            "heads": self.text_heads,
            "layers": self.text_layers,
            "pool_type": "eos",
            "eos_id": END_ID,
        }
        model = {"embed_dim": self.embedding, "vision_cfg": self.vision.vision_cfg(), "text_cfg": text}
        scale = {"init_logit_scale": math.log(_START_SCALE), "init_logit_bias": _START_BIAS}
        return {
            "model_cfg": {**model, **scale},
            "preprocess_cfg": {
                "mean": list(MEAN),
                "std": list(DEVIATION),
                "interpolation": "bicubic",
                "resize_mode": "squash",
            },
        }


#: The second part. It learns texts from nothing, and goes on slowly with what the vision tower knows.
COURSE = Course(steps=1400, warmup=100)
_THREADS = 2


def train(
    out: Path, seed: int = TRAINING_SEED, steps: int | None = None, size: ClipSize | None = None
) -> dict[str, Any]:
    """Train a CLIP and write its folder: weights as float16 in safetensors, configuration, tokenizer.

    ``steps`` in all, in place of those of both courses. Returns what it was: sizes, courses and number of parameters.
    Computes with two threads, so that the same seed gives the same weights on the same machine. Prints
    the parts of the loss every 100 steps.
    """
    import torch
    from open_clip import CLIP

    size = size or ClipSize()
    share = 1.0 if steps is None else steps / (vision.COURSE.steps + COURSE.steps)
    courses = {"vision": _shorter(vision.COURSE, share), "both": _shorter(COURSE, share)}
    tokenizer = clip_tokenizer(size.context_length)
    config = size.config(len(tokenizer))
    threads = torch.get_num_threads()
    torch.set_num_threads(_THREADS)
    try:
        torch.manual_seed(seed)
        model = CLIP(**config["model_cfg"])
        heads = vision.new_heads(size.vision.width)
        vision.teach_tower(model.visual, heads, size.vision, seed, courses["vision"])
        teach_both(model, heads, size, seed, courses["both"])
    finally:
        torch.set_num_threads(threads)
    save(model, config, out)
    tokenizer.save_pretrained(out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    told = {name: asdict(course) for name, course in courses.items()}
    return {"size": asdict(size), "courses": told, "parameters": parameters}


def _shorter(course: Course, share: float) -> Course:
    return replace(course, steps=max(1, round(course.steps * share)))


def measure(folder: Path) -> dict[str, Any]:
    """The numbers of ``clip_measure.measure_clip``."""
    return clip_measure.measure_clip(folder)


BARS = clip_measure.BARS


def read(model: Any, ids: Tensor) -> Tensor:
    """What open_clip's text tower makes of token ids (texts, tokens), before its projection."""
    import torch

    tokens = ids.shape[1]
    x = model.token_embedding(ids) + model.positional_embedding[:tokens]
    x = model.ln_final(through_layers(model.transformer.resblocks, x, model.attn_mask[:tokens, :tokens]))
    ends = (ids == model.text_eos_id).int().argmax(-1)
    return x[torch.arange(len(ids)), ends]


def read_in_parts(model: Any, ids: Tensor, parts: int = 4) -> Tensor:
    """The same, of short texts together and long ones together: less of what is computed is padding."""
    import torch

    lengths = (ids != 0).sum(-1)
    order = lengths.argsort()
    rows = [read(model, ids[chosen, : int(lengths[chosen].max())]) for chosen in order.chunk(parts)]
    return torch.cat(rows)[order.argsort()]


def teach_both(model: Any, heads: nn.ModuleDict, size: ClipSize, seed: int, course: Course) -> None:
    """Teach a CLIP whose vision tower knows facts already; ``heads`` are those of the tower."""
    from torch import nn

    stated = nn.Linear(size.text_width, sum(FACTS[name] for name in STATED))

    def losses(pixels: Tensor, facts: Tensor, patches: Tensor, ids: Tensor, said: Tensor) -> dict[str, Tensor]:
        whole, parts = look(model.visual, pixels)
        told = read_in_parts(model, ids.flatten(0, 1))
        of_facts = fact_loss(stated(told), said.flatten(0, 1)[:, _STATED], {name: FACTS[name] for name in STATED})
        texts = (told @ model.text_projection).unflatten(0, ids.shape[:2])
        pairs = pair_losses(whole @ model.visual.proj, texts, same_facts(facts), model.logit_scale, model.logit_bias)
        return {**vision_losses(heads, whole, parts, facts, patches), "said": of_facts, **pairs}

    make = partial(pair_batch, size.vision, size.context_length, course.batch, seed, _FIRST_PAIR)
    known = nn.ModuleDict({"tower": model.visual.transformer, "heads": heads})
    whole = nn.ModuleDict({"model": model, "heads": heads, "stated": stated})
    layers = [model.visual.transformer, model.transformer]
    teach(whole, layers, make, losses, course, known=known)


def same_facts(facts: Tensor) -> Tensor:
    """Which scenes of a batch (batch, batch) are told by the same facts: a caption of one is true of the other."""
    stated = facts[:, _STATED]
    return (stated[:, None] == stated[None]).all(-1)


def pair_losses(images: Tensor, texts: Tensor, same: Tensor, scale: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Losses of image embeddings (batch, width) beside texts (1 + wrong, batch, width), the true ones first.

    ``ranked``: of all true captions and its own wrong ones, the picture's own is the nearest, and the other way round.
    ``judged``: the pair's cosine is above the one cut that ``scale`` and ``bias`` make, that of a wrong pair below.
    """
    import torch
    from torch.nn import functional

    images, texts = (functional.normalize(each.float(), dim=-1) for each in (images, texts))
    scale = scale.clamp(max=math.log(_MOST_SCALE)).exp()
    others = scale * images @ texts[0].T
    wrong = scale * (images * texts[1:]).sum(-1).T
    own = torch.arange(len(images))
    apart = others.masked_fill(same & ~torch.eye(len(images), dtype=torch.bool), -torch.inf)
    ranked = functional.cross_entropy(torch.cat([apart, wrong], 1), own) + functional.cross_entropy(apart.T, own)
    true, other = others.diagonal(), apart[~same]
    judged = (
        functional.softplus(-true - bias).mean()
        + functional.softplus(wrong + bias).mean()
        + functional.softplus(other + bias).mean()
    )
    return {"ranked": ranked / 2, "judged": judged}


def save(model: Any, config: dict[str, Any], folder: Path) -> None:
    """Write weights and configuration; as float16 the weights take half the room, and are used as float32."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        model.logit_scale.clamp_(max=math.log(_MOST_SCALE))
    state = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / WEIGHTS_FILE, {"format": "pt"})
    (folder / WEIGHTS_FILE).chmod(0o644)
    text = json.dumps(config, indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")

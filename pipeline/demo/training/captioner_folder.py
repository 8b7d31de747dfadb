"""Captioning models in folders: saved small, loaded as any other model of transformers would be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairmill.transforms.model_folder import read_model_folder

if TYPE_CHECKING:
    from PIL import Image
    from transformers import PreTrainedModel, ProcessorMixin

FILES = ("config.json", "generation_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
_BATCH = 50


def save_captioner(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> None:
    """Write model and processor into a folder, which is made if need be.

    The weights are stored as float16, which halves them; the configuration says float32, so that they are loaded and
    used as that. The model itself is changed to float16.
    """
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


class Captioner:
    """A captioning model of a folder, with its processor."""

    def __init__(self, folder: Path, kinds: Sequence[str] = ()) -> None:
        """Raises ValueError, one line, where the folder does not hold a whole model of one of these kinds."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        read_model_folder(folder, needs=FILES, kinds=kinds)
        self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.model: Any = model.eval()

    def captions(self, pictures: Sequence[Image.Image], prompts: str | Sequence[str] = "") -> list[str]:
        """What the model says of each picture, the likeliest word each time.

        A chat model needs a prompt, for all pictures or for each its own; one of GIT takes none.
        """
        import torch

        asked = [prompts] * len(pictures) if isinstance(prompts, str) else list(prompts)
        said: list[str] = []
        for start in range(0, len(pictures), _BATCH):
            batch = slice(start, start + _BATCH)
            texts = [self._as_chat(prompt) for prompt in asked[batch]] if any(asked[batch]) else None
            inputs = self.processor(images=list(pictures[batch]), text=texts, padding=True, return_tensors="pt")
            with torch.inference_mode():
                ids = self.model.generate(**inputs, do_sample=False)
            behind = inputs["input_ids"].shape[1] if texts else 0
            said += self.processor.batch_decode(ids[:, behind:], skip_special_tokens=True)
        return said

    def _as_chat(self, prompt: str) -> str:
        messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True))

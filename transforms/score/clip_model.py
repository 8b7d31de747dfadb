"""A CLIP of open_clip: found, known by its hashes, and loaded with the weights that were meant or not at all.

open_clip by itself gives a folder without weights random ones and only warns, takes OpenAI's mean and std for a bare
file of weights, QuickGELU or not by the name of the architecture, and resizes position embeddings that do not fit.
Each of these makes scores that look like scores; here each is an error or settled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairmill.transforms.model_folder import read_model_folder, weight_file_sha256
from pairmill.transforms.score.device import import_torch
from pairmill.transforms.score.preprocess import Preprocessing, read_preprocessing

_CONFIG = "open_clip_config.json"
#: open_clip's order, safetensors first; of the hub's copies it asks for the first and the third.
_WEIGHT_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
)
_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_LOADABLE = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True)
class ClipFiles:
    """A CLIP that was found on this machine; nothing of it is loaded.

    model: what it is called on every machine: a built-in name, ``hf-hub:ID``, or ``folder``.
    pretrained: the tag of its weights, or ``file``; None where they belong to the model.
    sha256: of the file of weights, or of the whole folder (see ``model_folder``).
    config: ``embed_dim``, ``vision_cfg``, ``text_cfg`` and so on.
    folder: where its configuration lies, if it is none of open_clip's own.
    """

    model: str
    pretrained: str | None
    weights: Path
    sha256: str
    config: dict[str, Any]
    preprocessing: Preprocessing
    folder: Path | None = None

    @property
    def architecture(self) -> str:
        """What open_clip builds it by."""
        return f"local-dir:{self.folder}" if self.folder else self.model

    def __str__(self) -> str:
        return f"model folder {self.folder}" if self.model == "folder" else f"model {self.model}"

    def identity(self) -> dict[str, Any]:
        """What decides the numbers, without a path."""
        config = json.dumps(self.config, sort_keys=True).encode()
        return {
            "model": self.model,
            "pretrained": self.pretrained,
            "sha256": self.sha256,
            "config_sha256": hashlib.sha256(config).hexdigest(),
            "embedding_width": self.config["embed_dim"],
            "context_length": context_length(self.config),
            "preprocessing": self.preprocessing.to_dict(),
        }


def find_clip(model: str, pretrained: str | None, sha256: str | None, preprocessing: Preprocessing | None) -> ClipFiles:
    """Find a CLIP by the words of a recipe.

    model: a local folder as open_clip saves it (``open_clip_config.json``, weights, tokenizer), ``hf-hub:OWNER/NAME``,
        or the name of one of open_clip's architectures, with ``pretrained`` a tag or a file of weights.
    preprocessing: for a file of weights, or a folder or hub copy that names none; refused where the model has its own.

    What is in the hub's cache is used as it is; else it is fetched. Raises ValueError with one line.
    """
    if model.startswith("hf-hub:"):
        found = _from_hub(model, pretrained, sha256, preprocessing)
    elif "/" in model or Path(model).expanduser().is_dir():
        found = _from_folder(Path(model.removeprefix("local-dir:")), pretrained, sha256, preprocessing)
    else:
        found = _built_in(model, pretrained, sha256, preprocessing)
    if found.weights.suffix not in _LOADABLE:
        raise ValueError(f"weights {found.weights}: give a file that ends in {', '.join(_LOADABLE)}")
    return found


def context_length(config: dict[str, Any]) -> int:
    """The tokens that the text tower takes."""
    return int(config.get("text_cfg", {}).get("context_length", 77))


def check_clip(files: ClipFiles) -> None:
    """Raises ValueError where the weights are not those of the architecture; no number of them is read."""
    torch = import_torch()
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one a tensor, that nothing is copied
        _load_weights(_architecture(files, "fp32", "meta"), files)


def load_clip(files: ClipFiles, device: str, precision: str) -> tuple[Any, Any]:
    """The model on the device, ready to score, and its tokenizer. Raises ValueError as ``check_clip`` does.

    On the device ``meta`` the model has no numbers. In ``bf16`` and ``fp16`` the large matrices are in that format, and
    layer norms in fp32, as open_clip does it.
    """
    torch = import_torch()
    if device == "meta":
        with torch.device(device):
            model = _architecture(files, precision, device)
        return model.eval(), _tokenizer(files)
    if device != "cpu" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32; products of matrices have it so by default
    model = _architecture(files, precision, device)
    _load_weights(model, files)
    if device != "cpu":
        torch.cuda.synchronize(device)
    return model.eval().requires_grad_(False), _tokenizer(files)


def import_open_clip() -> Any:
    """The module ``open_clip``; raises ValueError with one line where it is not installed."""
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise ValueError(f"a clip scorer needs the package {error.name}; pip install 'pairmill[models]'") from None
    return open_clip


def _from_folder(
    folder: Path, pretrained: str | None, sha256: str | None, preprocessing: Preprocessing | None
) -> ClipFiles:
    folder = folder.expanduser()
    if pretrained is not None:
        raise ValueError(f"model folder {folder} holds its own weights; leave out pretrained ({pretrained})")
    found = read_model_folder(
        folder, needs=[_CONFIG], kinds=["open_clip"], sha256=sha256, formats=["safetensors", "torch"]
    )
    weights = _chosen(found.weights, folder)
    config, own = _read_config(folder / _CONFIG, f"model folder {folder}", preprocessing)
    return ClipFiles("folder", None, weights, found.sha256, config, own, folder)


def _chosen(weights: Sequence[Path], folder: Path) -> Path:
    """The file that open_clip would load."""
    by_name = {path.name: path for path in weights}
    for name in _WEIGHT_NAMES:
        if name in by_name:
            return by_name[name]
    if len(weights) > 1:
        raise ValueError(
            f"model folder {folder} holds several files of weights ({', '.join(by_name)}); name the one that is meant "
            f"{_WEIGHT_NAMES[0]}"
        )
    return weights[0]


def _from_hub(model: str, pretrained: str | None, sha256: str | None, preprocessing: Preprocessing | None) -> ClipFiles:
    if pretrained is not None:
        raise ValueError(f"{model} holds its own weights; leave out pretrained ({pretrained})")
    repository = model.removeprefix("hf-hub:")
    file = _hub_file(repository, (_CONFIG,))
    config, own = _read_config(file, model, preprocessing)
    weights = _hub_file(repository, _HUB_WEIGHTS)
    return ClipFiles(model, None, weights, weight_file_sha256(weights, sha256=sha256), config, own, file.parent)


def _built_in(model: str, pretrained: str | None, sha256: str | None, preprocessing: Preprocessing | None) -> ClipFiles:
    open_clip = import_open_clip()
    config = open_clip.get_model_config(model)
    if config is None:
        raise ValueError(
            f"model {model}: no folder here and no architecture of open_clip; open_clip.list_models() has them"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained is None:
        raise ValueError(f"model {model}: name its weights by pretrained, a file or one of: {', '.join(tags)}")
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if tag:
        return _tagged(model, config, pretrained, tag, sha256, preprocessing)
    file = Path(pretrained).expanduser()
    if not file.is_file():
        raise ValueError(f"model {model}: pretrained {pretrained} is no file, and no tag of it: {', '.join(tags)}")
    if preprocessing is None:
        raise ValueError(
            f"weights {file}: a file does not say how its pictures are made; give preprocessing with mean, std, "
            "interpolation and resize_mode"
        )
    digest = weight_file_sha256(file, sha256=sha256)
    return ClipFiles(model, "file", file, digest, config, _sized(preprocessing, config))


def _tagged(
    model: str,
    config: dict[str, Any],
    pretrained: str,
    tag: dict[str, Any],
    sha256: str | None,
    preprocessing: Preprocessing | None,
) -> ClipFiles:
    if preprocessing is not None:
        raise ValueError(f"model {model}: {pretrained} has a preprocessing of its own; leave yours out")
    if tag.get("quick_gelu", False):
        config = {**config, "quick_gelu": True}  # what it was trained with, whatever the architecture's name says
    repository, _, name = str(tag.get("hf_hub", "")).rpartition("/")
    if repository:
        weights = _hub_file(repository, _with_safetensors(name) if name else _HUB_WEIGHTS)
    else:
        weights = _from_address(str(tag["url"]))
    digest = weight_file_sha256(weights, sha256=sha256)
    return ClipFiles(model, pretrained, weights, digest, config, _sized(read_preprocessing(tag), config))


def _with_safetensors(name: str) -> tuple[str, ...]:
    stem, suffix = os.path.splitext(name)
    return (f"{stem}.safetensors", name) if suffix in (".bin", ".pt", ".pth") else (name,)


def _read_config(path: Path, where: str, preprocessing: Preprocessing | None) -> tuple[dict[str, Any], Preprocessing]:
    """``model_cfg`` and the preprocessing of an ``open_clip_config.json``."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        config = told["model_cfg"]
        own = told.get("preprocess_cfg") or {}
        width = int(config["embed_dim"])
        assert width > 0
        assert isinstance(config["vision_cfg"], dict)
        assert isinstance(config["text_cfg"], dict)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise ValueError(f"{where}: {_CONFIG} is no configuration of open_clip ({error!r})") from None
    if preprocessing is not None:
        if own.get("mean"):
            raise ValueError(f"{where} has a preprocessing of its own; leave yours out")
        return config, _sized(preprocessing, config)
    try:
        return config, _sized(read_preprocessing(own), config)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {_CONFIG} {error}; give preprocessing in the recipe") from None


def _sized(preprocessing: Preprocessing, config: dict[str, Any]) -> Preprocessing:
    if preprocessing.size is not None:
        return preprocessing
    size = config["vision_cfg"].get("image_size", 224)
    return preprocessing.of_size(*(size if isinstance(size, (list, tuple)) else (size, size)))


def _hub_file(repository: str, names: Sequence[str]) -> Path:
    """The first of these files that the hub's cache holds, or else that the hub gives."""
    try:
        from huggingface_hub import hf_hub_download
    except ModuleNotFoundError:
        raise ValueError(f"{repository}: needs the package huggingface_hub; pip install 'pairmill[models]'") from None
    told = ""
    for cached in (True, False):
        for name in names:
            try:
                return Path(hf_hub_download(repository, name, local_files_only=cached))
            except Exception as error:  # the hub's client raises some twenty types, of its HTTP library's too
                told = str(error).strip().partition("\n")[0] or type(error).__name__
    raise ValueError(
        f"{repository}: {' or '.join(names)} is not in the hub's cache here, and the hub did not give it: {told}"
    )


def _from_address(url: str) -> Path:
    open_clip = import_open_clip()
    try:
        return Path(open_clip.download_pretrained_from_url(url))
    except Exception as error:
        raise ValueError(f"weights {url}: {str(error).strip() or type(error).__name__}") from None


def _architecture(files: ClipFiles, precision: str, device: str) -> Any:
    """The model with whatever numbers it is made with."""
    open_clip = import_open_clip()
    try:
        with _quiet():
            return open_clip.create_model(
                files.architecture,
                load_weights=False,
                pretrained_text=False,
                force_quick_gelu=bool(files.config.get("quick_gelu")),
                precision=precision,
                device=device,
            )
    except Exception as error:
        raise ValueError(f"{files}: open_clip cannot build it: {_line(error)}") from None


def _load_weights(model: Any, files: ClipFiles) -> None:
    """Fill the model with the weights, all of them and no others."""
    open_clip = import_open_clip()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    try:
        # Before open_clip reads the file: where this raises a TypeError it reads again without weights_only.
        for name, shape in _checkpoint_shapes(files.weights).items():
            own = shapes.get(name, shapes.get(f"text.{name}"))
            if name.endswith("positional_embedding") and own is not None and own != shape:
                # open_clip would stretch them, to a model that nobody trained.
                raise ValueError(f"{name} is of shape {shape}, the architecture has {own}")
        open_clip.load_checkpoint(model, str(files.weights), strict=True, weights_only=True)
    except Exception as error:
        raise ValueError(f"{files}: {files.weights.name} does not hold its weights: {_line(error)}") from None


def _checkpoint_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the tensors in a file of weights; no number is read, and no code run."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    weights = import_torch().load(path, map_location="meta", weights_only=True)
    weights = weights.get("state_dict", weights)
    return {name.removeprefix("module."): tuple(getattr(value, "shape", ())) for name, value in weights.items()}


def _tokenizer(files: ClipFiles) -> Any:
    """The model's own tokenizer, as ``open_clip.get_tokenizer`` chooses it, from the cache where that has it."""
    import_open_clip()
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    text = files.config["text_cfg"]
    length = context_length(files.config)
    keywords = dict(text.get("tokenizer_kwargs", {}))
    keywords.pop("reduction_mask", None)  # an augmentation: at random
    name = text.get("hf_tokenizer_name")
    if not name:
        if files.folder is None and "siglip" in files.model.lower():
            raise ValueError(f"{files}: it names no tokenizer; name one of open_clip's later architectures")
        return SimpleTokenizer(context_length=length, **keywords)
    source = str(files.folder) if files.model == "folder" else name
    mode, told = text.get("tokenizer_mode"), ""
    for cached in (True,) if files.model == "folder" else (True, False):
        try:
            return HFTokenizer(source, context_length=length, tokenizer_mode=mode, local_files_only=cached, **keywords)
        except Exception as error:  # of files that are absent, damaged, or of the hub's client
            told = _line(error)
    raise ValueError(f"{files}: its tokenizer {source} could not be loaded: {told}")


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:500] or type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without open_clip's warnings of a model that it leaves without weights, which here is meant."""
    handler = logging.NullHandler()  # without any, logging makes one that writes to stderr, for good
    logging.root.addHandler(handler)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        logging.root.removeHandler(handler)

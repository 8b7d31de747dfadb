"""The weights of a head: a normalisation and dense layers, read from a file without unpickling anything.

Three layouts of names are read, from ``.pth`` and ``.pt`` (torch), ``.npz`` (numpy) and ``.safetensors`` alike:

- torch: ``weight`` [out, in] and ``bias``, or ``NAME.weight`` and ``NAME.bias`` of several layers, in the order of the
  numbers in their names; before them perhaps ``NAME.mean`` and ``NAME.variance``,
- Keras, exported: ``NAME_kernel`` [in, out] and ``NAME_bias``, ``NAME_mean`` and ``NAME_variance``,
- ``categorical_columns``: input columns that the model takes for categories. An embedding's value is never one of the
  categories that were seen in training, and the code of the unknown category is 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Activation = Literal["none", "relu"]
Output = Literal["identity", "sigmoid"]
Array = npt.NDArray[np.float64]

_NAME = re.compile(r"(?:(?P<layer>.*)[._])?(?P<role>weight|kernel|bias|mean|variance)")
_CATEGORICAL = "categorical_columns"
#: Keras' normalisation divides by at least this (``keras.backend.epsilon``).
_LEAST_DEVIATION = 1e-7
#: Rows that go through the layers together, always so many: the shape of a product must not depend on the batch.
_ROWS = 64


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """Dense layers ``(weight [in, out], bias [out])`` in order; before them perhaps a mean and a deviation [in]."""

    layers: tuple[tuple[Array, Array], ...]
    mean: Array | None = None
    deviation: Array | None = None
    constant_columns: tuple[int, ...] = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """From the width of the embedding to that of the score, which is 1."""
        return (self.layers[0][0].shape[0], *(weight.shape[1] for weight, _ in self.layers))

    def apply(
        self, embeddings: npt.NDArray[np.floating], activation: Activation, output: Output
    ) -> npt.NDArray[np.float32]:
        """The score of each row of ``embeddings`` [rows, width]: float32 [rows], computed in double precision.

        ``activation`` stands between the layers, ``output`` after the last. A row's score depends on that row alone.
        """
        rows = len(embeddings)
        padded = np.zeros((-(-rows // _ROWS) * _ROWS, self.widths[0]))
        padded[:rows] = embeddings
        scores = [self._block(padded[i : i + _ROWS], activation, output) for i in range(0, len(padded), _ROWS)]
        return np.concatenate(scores)[:rows].astype(np.float32) if scores else np.zeros(0, np.float32)

    def _block(self, x: Array, activation: Activation, output: Output) -> Array:
        if self.constant_columns:
            x[:, self.constant_columns] = 0.0
        if self.mean is not None and self.deviation is not None:
            x = (x - self.mean) / self.deviation
        for number, (weight, bias) in enumerate(self.layers):
            if number and activation == "relu":
                x = np.maximum(x, 0.0)
            x = x @ weight + bias
        scores = x[:, 0]
        if output == "sigmoid":
            with np.errstate(over="ignore"):  # exp of much is infinite, and the score 0
                scores = 1.0 / (1.0 + np.exp(-scores))
        return scores


def read_head_weights(path: str | Path) -> HeadWeights:
    """The layers in a ``.pth``, ``.pt``, ``.npz`` or ``.safetensors`` file.

    Raises ValueError, one line that names the file, when it is not readable, holds anything but such layers, layers
    that do not follow each other, values that are not finite, or more than one score.
    """
    file = Path(path).expanduser()
    try:
        return head_of_arrays(_read_arrays(file))
    except OSError as error:
        raise ValueError(f"head {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ValueError(f"head {file}: {error}") from error


def head_of_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> HeadWeights:
    """The layers of named arrays, as the module says. Raises ValueError where they are none."""
    layers: dict[str, dict[str, Array]] = {}
    columns: tuple[int, ...] = ()
    for name, array in arrays.items():
        if name == _CATEGORICAL:
            columns = tuple(int(column) for column in array)
            continue
        match = _NAME.fullmatch(name)
        if match is None or array.dtype.kind not in "fiu":
            raise ValueError(f"{name!r} is no part of a head; read are weight or kernel, bias, mean and variance")
        values = array.astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{name!r} holds values that are not finite")
        layers.setdefault(match["layer"] or "", {})[match["role"]] = values
    dense = [name for name in sorted(layers, key=_number_order) if layers[name].keys() & {"weight", "kernel"}]
    norms = [name for name in layers if name not in dense]
    if not dense:
        raise ValueError("it holds no dense layer")
    mean, deviation = _normalisation(norms, layers)
    head = HeadWeights(tuple(_dense(name, layers[name]) for name in dense), mean, deviation, columns)
    _check_chain(head)
    return head


def _dense(name: str, parts: dict[str, Array]) -> tuple[Array, Array]:
    if unknown := set(parts) - {"weight", "kernel", "bias"}:
        raise ValueError(f"layer {name!r} has a {sorted(unknown)[0]} too; it is no dense layer")
    weight = parts["kernel"] if "kernel" in parts else parts["weight"].T
    if weight.ndim != 2:
        raise ValueError(f"the weight of {name!r} has {weight.ndim} dimensions; that of a dense layer has 2")
    return np.ascontiguousarray(weight), parts.get("bias", np.zeros(weight.shape[1]))


def _normalisation(names: list[str], layers: dict[str, dict[str, Array]]) -> tuple[Array | None, Array | None]:
    if not names:
        return None, None
    parts = layers[names[0]]
    if len(names) > 1 or set(parts) != {"mean", "variance"} or (parts["variance"] < 0).any():
        raise ValueError(f"{', '.join(map(repr, names))}: not one normalisation with a mean and a variance")
    return parts["mean"], np.maximum(np.sqrt(parts["variance"]), _LEAST_DEVIATION)


def _check_chain(head: HeadWeights) -> None:
    width = head.widths[0]
    for part in (head.mean, head.deviation):
        if part is not None and part.shape != (width,):
            raise ValueError(f"its normalisation has the shape {part.shape}, its first layer reads {width} numbers")
    if any(not 0 <= column < width for column in head.constant_columns):
        raise ValueError(f"its categorical_columns are not all below {width}")
    for weight, bias in head.layers:
        if weight.shape[0] != width or bias.shape != (weight.shape[1],):
            raise ValueError(f"its layers do not follow each other: {width} numbers meet a layer of {weight.shape}")
        width = weight.shape[1]
    if width != 1:
        raise ValueError(f"it gives {width} numbers; a head gives one score")


def _number_order(name: str) -> list[tuple[int, str]]:
    """layers.2 before layers.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _read_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    if file.suffix == ".npz":
        try:
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except (ValueError, EOFError, KeyError, AttributeError) as error:
            raise ValueError(f"is no readable .npz: {error}") from None
    if file.suffix == ".safetensors":
        return _read_safetensors(file)
    if file.suffix in (".pth", ".pt"):
        return _read_torch(file)
    raise ValueError("read are .pth, .pt, .npz and .safetensors files")


def _read_safetensors(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ModuleNotFoundError:
        raise ValueError("needs the package safetensors: pip install 'pairmill[models]'") from None
    try:
        return dict(load_file(file))
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"is no readable safetensors file of float16, 32 or 64: {error}") from None


def _read_torch(file: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        import torch
    except ModuleNotFoundError:
        raise ValueError("needs the package torch: pip install 'pairmill[models]'") from None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what torch raises on bytes that are no weights has many types
        told = str(error).strip().partition("\n")[0]
        raise ValueError(f"torch reads no weights from it: {told}") from None
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise ValueError("it holds no state_dict, a mapping from names to tensors")
    return {str(name): tensor.double().numpy() for name, tensor in state.items()}

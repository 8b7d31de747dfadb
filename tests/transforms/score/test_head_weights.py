from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch import nn

from pairmill.transforms.score.head_weights import HeadWeights, head_of_arrays, read_head_weights


class Normalised(nn.Module):
    """LAION's layout: a normalisation, then layers with a ReLU between, then a sigmoid."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.norm = nn.Module()
        self.norm.register_buffer("mean", torch.randn(widths[0]))
        self.norm.register_buffer("variance", torch.rand(widths[0]) + 0.1)
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            setattr(self, f"linear_{number}", nn.Linear(before, after))
        self.layers = len(widths) - 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - self.norm.mean) / self.norm.variance.sqrt()
        for number in range(1, self.layers + 1):
            x = getattr(self, f"linear_{number}")(x)
            if number < self.layers:
                x = torch.relu(x)
        return torch.sigmoid(x)


def sequential(*widths: int, between: type[nn.Module] = nn.Dropout) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), between()]
    return nn.Sequential(*parts[:-1]).eval()


def numpy_state(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def save(model: nn.Module, path: Path) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **numpy_state(model))
    elif path.suffix == ".safetensors":
        save_file({name: np.ascontiguousarray(array) for name, array in numpy_state(model).items()}, path)
    else:
        torch.save(model.state_dict(), path)
    return path


def embeddings(rows: int, width: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".npz", ".safetensors"])
@pytest.mark.parametrize("between", [nn.Dropout, nn.ReLU])
def test_a_network_gives_what_torch_gives(tmp_path: Path, suffix: str, between: type[nn.Module]) -> None:
    torch.manual_seed(1)
    # Twelve layers: layers.10 comes after layers.2.
    model = sequential(24, *range(20, 9, -1), 1, between=between)
    head = read_head_weights(save(model, tmp_path / f"head{suffix}"))
    assert head.widths == (24, *range(20, 9, -1), 1)
    x = embeddings(70, 24)
    got = head.apply(x, "relu" if between is nn.ReLU else "none", "identity")
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, model(torch.from_numpy(x))[:, 0].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_one_layer_without_a_name(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = nn.Linear(16, 1)
    head = read_head_weights(save(model, tmp_path / "linear.pth"))
    x = embeddings(3, 16)
    expected = model(torch.from_numpy(x))[:, 0].detach().numpy()
    np.testing.assert_allclose(head.apply(x, "none", "identity"), expected, rtol=1e-6)


def test_a_normalisation_and_a_sigmoid(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = Normalised((12, 8, 8, 1)).eval()
    head = read_head_weights(save(model, tmp_path / "nsfw.pth"))
    x = embeddings(5, 12)
    expected = model(torch.from_numpy(x))[:, 0].detach().numpy()
    np.testing.assert_allclose(head.apply(x, "relu", "sigmoid"), expected, rtol=1e-5)


def test_keras_names_and_columns_that_are_constant() -> None:
    rng = np.random.default_rng(4)
    kernel = rng.standard_normal((4, 1))
    head = head_of_arrays(
        {
            "l1_mean": np.zeros(4),
            "l1_variance": np.ones(4),
            "l2_kernel": kernel,
            "l2_bias": np.array([0.5]),
            "categorical_columns": np.array([1, 3]),
        }
    )
    x = rng.standard_normal((2, 4))
    before = x.copy()
    expected = x[:, [0, 2]] @ kernel[[0, 2]] + 0.5
    np.testing.assert_allclose(head.apply(x, "relu", "identity"), expected[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(x, before)  # the embeddings are shared with other heads


def test_a_sigmoid_far_out_is_0_or_1_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    head = head_of_arrays({"weight": np.array([[1000.0]])})
    np.testing.assert_array_equal(head.apply(np.array([[-9.0], [9.0]]), "none", "sigmoid"), [0.0, 1.0])
    assert not recwarn.list


@given(rows=st.integers(1, 150), seed=st.integers(0, 5), order=st.randoms(use_true_random=False))
def test_the_score_of_a_row_depends_on_that_row_alone(rows: int, seed: int, order) -> None:
    head = _mlp()
    x = embeddings(150, 64, seed)
    whole = head.apply(x, "relu", "sigmoid")
    chosen = order.sample(range(150), rows)
    assert head.apply(x[chosen], "relu", "sigmoid").tobytes() == whole[chosen].tobytes()


def test_no_rows() -> None:
    assert _mlp().apply(np.zeros((0, 64), np.float32), "none", "identity").shape == (0,)


def _mlp() -> HeadWeights:
    rng = np.random.default_rng(9)
    widths = (64, 33, 17, 1)
    arrays = {}
    for number, (before, after) in enumerate(pairwise(widths)):
        arrays[f"layers.{number}.weight"] = rng.standard_normal((after, before))
        arrays[f"layers.{number}.bias"] = rng.standard_normal(after)
    return head_of_arrays(arrays)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, "it holds no dense layer"),
        ({"mean": np.zeros(2), "variance": np.ones(2)}, "it holds no dense layer"),
        ({"weight": np.zeros((2, 3))}, "it gives 2 numbers; a head gives one score"),
        ({"weight": np.array([[np.nan, 1.0]])}, "'weight' holds values that are not finite"),
        ({"weight": np.zeros((1, 3)), "bias": np.zeros(2)}, "its layers do not follow each other"),
        ({"a.0.weight": np.zeros((4, 3)), "a.1.weight": np.zeros((1, 5))}, "4 numbers meet a layer of (5, 1)"),
        ({"weight": np.zeros((1, 3)), "gamma": np.zeros(3)}, "'gamma' is no part of a head"),
        ({"weight": np.array(["a"])}, "'weight' is no part of a head"),
        ({"weight": np.zeros((1, 2, 2))}, "has 3 dimensions"),
        ({"weight": np.zeros((1, 3)), "n.mean": np.zeros(3)}, "not one normalisation"),
        ({"weight": np.zeros((1, 3)), "n.mean": np.zeros(2), "n.variance": np.ones(2)}, "reads 3 numbers"),
        ({"weight": np.zeros((1, 3)), "n.mean": np.zeros(3), "n.variance": -np.ones(3)}, "not one normalisation"),
        ({"weight": np.zeros((1, 3)), "categorical_columns": np.array([3])}, "not all below 3"),
        ({"weight": np.zeros((1, 3)), "mean": np.zeros(3)}, "has a mean too"),
    ],
)
def test_what_is_no_head_is_refused(arrays: dict[str, np.ndarray], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)) as refused:
        head_of_arrays(arrays)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".pth", ".npz", ".safetensors", ".bin"])
def test_a_file_of_other_bytes_is_refused_by_its_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"head{suffix}"
    path.write_bytes(b"not weights at all" * 9)
    with pytest.raises(ValueError, match=rf"^head .*head\{suffix}: ") as refused:
        read_head_weights(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.npz: No such file"):
        read_head_weights(tmp_path / "gone.npz")


class Planted:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("suffix", [".pth", ".npz"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"head{suffix}", tmp_path / "mark"
    if suffix == ".npz":
        np.savez(path, weight=np.array([Planted(mark)], dtype=object))
    else:
        torch.save({"weight": Planted(mark)}, path)
    with pytest.raises(ValueError, match=r"head .*: "):
        read_head_weights(path)
    assert not mark.exists()


def test_a_state_dict_within_a_checkpoint_is_found(tmp_path: Path) -> None:
    torch.save({"state_dict": nn.Linear(3, 1).state_dict(), "epoch": 4}, tmp_path / "checkpoint.pt")
    assert read_head_weights(tmp_path / "checkpoint.pt").widths == (3, 1)


def test_what_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds no state_dict"):
        read_head_weights(tmp_path / "list.pt")

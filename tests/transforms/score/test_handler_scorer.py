"""A user's Beam ModelHandler, or one of Beam's own, as a scorer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairmill.sharding.errors import PairmillError
from pairmill.transforms.score.engine import measure_rows
from pairmill.transforms.score.handler_scorer import HandlerScorer
from pairmill.transforms.score.settings import InferenceSettings

CPU = InferenceSettings(device="cpu", threads=2, batch_size=4)

HANDLERS = '''
import numpy as np
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

SEEN = []

class Seen(ModelHandler):
    """Keeps what it is given, and answers by a rule."""
    def __init__(self, answer="width", scale=1.0):
        super().__init__()
        self.answer, self.scale = answer, scale

    def load_model(self):
        if self.answer == "broken":
            raise OSError("no such weights")
        return {"scale": self.scale}

    def run_inference(self, batch, model, inference_args=None):
        SEEN.append(list(batch))
        for item in batch:
            yield getattr(self, "_" + self.answer)(item, model["scale"])

    def _width(self, image, scale):
        return PredictionResult(image, image.width * scale)

    def _mean(self, array, scale):
        return {"red": float(array[..., 0].mean()), "blue": array[..., 2].mean(), "more": "not asked for"}

    def _length(self, text, scale):
        return None if text == "none" else [len(text) * scale, -1]

    def _both(self, pair, scale):
        picture, text = pair
        return picture.shape[0] * 1000 + len(text)

    def _words(self, item, scale):
        return "high"

class Half(ModelHandler):
    def load_model(self): return object()
    def run_inference(self, batch, model, inference_args=None): return [1.0] * (len(batch) // 2)

def doubled():
    handler = Seen("width")
    return handler.with_preprocess_fn(lambda image: image.resize((7, 7))).with_postprocess_fn(
        lambda prediction: prediction.inference * 2)

class NoHandler:
    pass
'''


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "my_scorers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import my_scorers

    yield my_scorers
    del sys.modules["my_scorers"]


def seen(**parameters: Any) -> HandlerScorer:
    answer = parameters.pop("answer")
    return HandlerScorer(handler="my_scorers.Seen", arguments={"answer": answer}, **parameters)


def test_a_users_handler_gets_pictures_in_full_batches(module: Any, spool: Any) -> None:
    bodies = [spool.picture(number, 20 + number, 30) for number in range(6)]
    bodies[3] = b"broken"
    rows = spool.rows(bodies, [None] * 6)
    frame = measure_rows({"w": seen(answer="width")}, rows, spool.read, CPU).frames["w"]
    assert frame["w_score"].to_list() == [20.0, 21.0, 22.0, None, 24.0, 25.0]
    assert frame["w_outcome"].to_list() == [None] * 3 + ["decode_failed"] + [None] * 2
    assert [len(batch) for batch in module.SEEN] == [4, 4]
    assert {image.mode for batch in module.SEEN for image in batch} == {"RGB"}


def test_dicts_become_columns_by_their_names(spool: Any) -> None:
    rows = spool.rows([spool.picture(1, file_format="PNG")], ["x"])
    scorer = seen(answer="mean", input="array", outputs=("blue", "red"))
    frame = measure_rows({"m": scorer}, rows, spool.read, CPU).frames["m"]
    assert frame.columns == ["row_id", "m_blue", "m_red", "m_outcome"]
    assert 0 < frame["m_red"][0] < 255


def test_squares_of_one_size_can_be_stacked(module: Any, spool: Any) -> None:
    rows = spool.many(5)
    scorer = seen(answer="mean", input="array", image_size=24, outputs=("red",))
    measure_rows({"m": scorer}, rows, spool.read, CPU)
    assert {item.shape for batch in module.SEEN for item in batch} == {(24, 24, 3)}
    assert {item.dtype for batch in module.SEEN for item in batch} == {np.dtype(np.uint8)}


def test_texts_are_scored_without_pictures(module: Any, spool: Any) -> None:
    rows = spool.rows([None] * 5, ["ab", "none", " ", "abc", "ab"]).rename({"caption": "recaption"})
    scorer = seen(answer="length", input="text", text="recaption", outputs=("length", "sign"))
    assert scorer.reads == "text"
    frame = measure_rows({"t": scorer}, rows, spool.read, CPU).frames["t"]
    assert frame.columns == ["row_id", "t_length_recaption", "t_sign_recaption", "t_outcome"]
    assert frame["t_length_recaption"].to_list() == [2.0, None, None, 3.0, 2.0]
    assert frame["t_outcome"].to_list() == [None, "not_finite", "no_text", None, None]
    assert module.SEEN == [["ab", "none", "abc", "ab"]]  # the last is filled up


def test_pictures_with_their_texts_are_scored_pair_by_pair(module: Any, spool: Any) -> None:
    one, two = spool.add(spool.picture(1, 10, 20)), spool.add(spool.picture(2, 10, 30))
    rows = spool.rows([None] * 5, ["a", "bb", "bb", None, "ccc"]).with_columns(
        spool=np.array(["s.tar"] * 5),
        spool_offset=np.array([place[1] for place in (one, one, two, two, one)]),
        stored_bytes=np.array([place[2] for place in (one, one, two, two, one)]),
    )
    frame = measure_rows({"p": seen(answer="both", input="array_text")}, rows, spool.read, CPU).frames["p"]
    assert frame["p_score"].to_list() == [20_001.0, 20_002.0, 30_002.0, None, 20_003.0]
    assert frame["p_outcome"].to_list() == [None, None, None, "no_text", None]
    assert len(spool.reads) == 2
    assert [len(batch) for batch in module.SEEN] == [4]


def test_functions_before_and_after_are_applied(spool: Any) -> None:
    rows = spool.many(2)
    frame = measure_rows({"d": HandlerScorer(handler="my_scorers.doubled")}, rows, spool.read, CPU).frames["d"]
    assert frame["d_score"].to_list() == [14.0, 14.0]


def test_beams_own_torch_handler_works_by_its_path_and_arguments(spool: Any, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    weights = tmp_path / "linear.pt"
    torch.save(torch.nn.Linear(8, 1).state_dict(), weights)
    (tmp_path / "my_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, pictures):\n"
        "        return super().forward(pictures.mean(dim=(1, 2)))\n"
    )
    scorer = HandlerScorer(
        handler="apache_beam.ml.inference.pytorch_inference.PytorchModelHandlerTensor",
        arguments={
            "state_dict_path": str(weights),
            "model_class": {"python": "my_net.Net"},
            "model_params": {"in_features": 8, "out_features": 1},
        },
        input="tensor",
        image_size=8,
    )
    rows = spool.many(6)
    frame = measure_rows({"net": scorer}, rows, spool.read, CPU).frames["net"]
    assert frame["net_score"].null_count() == 0
    assert frame["net_score"].n_unique() == 6
    identity = scorer.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert str(tmp_path) not in json.dumps(identity)
    assert set(identity["arguments"]["state_dict_path"]) == {"sha256"}
    assert identity["arguments"]["model_class"]["python"] == "my_net.Net"
    del sys.modules["my_net"]


def test_a_gpu_that_is_not_there_is_an_error_and_no_quiet_run_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    scorer = HandlerScorer(
        handler="apache_beam.ml.inference.pytorch_inference.PytorchModelHandlerTensor",
        arguments={"state_dict_path": "w.pt", "model_class": {"python": "torch.nn.Identity"}, "device": "GPU"},
    )
    with pytest.raises(ValueError, match="device GPU was asked for, and torch sees none here"):
        scorer.load("cpu", "fp32")


def test_the_identity_follows_the_source(tmp_path: Path) -> None:
    before = seen(answer="width").identity()
    assert before["handler"] == "my_scorers.Seen"
    (tmp_path / "my_scorers.py").write_text(HANDLERS + "\n# changed\n")
    assert seen(answer="width").identity()["source_sha256"] != before["source_sha256"]
    assert seen(answer="mean").identity()["arguments"] == {"answer": "mean"}


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"handler": "nodots"}, "no dotted path"),
        ({"handler": "os.system; x"}, "no dotted path"),
        ({"handler": "a.b", "input": "video"}, "input is 'video'"),
        ({"handler": "a.b", "image_size": 0}, "image_size"),
        ({"handler": "a.b", "image_size": 8, "input": "text"}, "image_size has no meaning"),
        ({"handler": "a.b", "outputs": ()}, "outputs"),
        ({"handler": "a.b", "outputs": ("a", "a")}, "outputs"),
        ({"handler": "a.b", "outputs": ("outcome",)}, "cannot name a column"),
    ],
)
def test_wrong_parameters_are_told(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HandlerScorer(**parameters)


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"handler": "no_such_module.Handler"}, "there is no module 'no_such_module'"),
        ({"handler": "my_scorers.Absent"}, "the module my_scorers has no Absent"),
        ({"handler": "my_scorers.NoHandler"}, "has no load_model"),
        ({"handler": "my_scorers.Seen", "arguments": {"colour": "red"}}, "cannot be made of these arguments"),
        ({"handler": "my_scorers.Seen", "arguments": {"answer": {"python": "my_scorers.Gone"}}}, "has no Gone"),
    ],
)
def test_a_handler_that_cannot_be_made_is_told_before_any_work(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        HandlerScorer(**parameters).identity()


def test_a_model_that_does_not_load_is_told(spool: Any) -> None:
    with pytest.raises(ValueError, match=r"my_scorers\.Seen: load_model failed: no such weights"):
        measure_rows({"b": seen(answer="broken")}, spool.many(1), spool.read, CPU)


def test_predictions_that_are_no_numbers_end_the_run_with_one_line(spool: Any) -> None:
    with pytest.raises(PairmillError, match="a prediction is no number for each of score: str"):
        measure_rows({"x": seen(answer="words")}, spool.many(1), spool.read, CPU)
    with pytest.raises(PairmillError, match=r"my_scorers\.Half gave 2 predictions for 4 items"):
        measure_rows({"x": HandlerScorer(handler="my_scorers.Half")}, spool.many(3), spool.read, CPU)

"""Settings: what they refuse, what they say then, and that they survive being stored."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from impasto.config import StyleNetArgs, TrainConfig, TransformerArgs, to_json
from impasto.texts import parse_weighted


def make(**settings: Any) -> TrainConfig:
    return TrainConfig(
        (Path("p.jpg"),),
        **{"architecture": "TransformerNet", "photos": Path("photos"), "output": Path("out/s.onnx"), **settings},
    )


def refused(**settings: Any) -> str:
    """The message with which settings are refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        make(**settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", (128, 31)),
        ("image_size", (28,)),
        ("image_size", (4100,)),
        ("style_size", (512, 4097)),
        ("style_size", (31,)),
        ("batch_size", (0,)),
        ("batch_size", (65537,)),
        ("log_interval", 0),
        ("sample_interval", 0),
        ("checkpoint_interval", -1),
        ("content_weight", -0.1),
        ("style_weight", (5.0, math.inf)),
        ("style_weight", (math.nan,)),
        ("tv_weight", -1e-9),
        ("warmup_steps", -1),
        ("average_decay", 1.0),
        ("average_decay", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("gradient_clip", 0.0),
        ("steps", 0),
        ("epochs", 0.0),
        ("minutes", -1.0),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_number_out_of_range_is_named_with_its_value_and_the_range(name: str, value: Any) -> None:
    bad = value[-1] if isinstance(value, tuple) else value
    assert refused(**{name: value}).startswith(f"{name} is {bad}; it must be from ")


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_emphasis_is_of_a_painting_and_above_0(factor: float) -> None:
    assert refused(emphasis={"p": factor}) == f"emphasis of p is {factor}; it must be above 0, at most 1000000"
    assert refused(emphasis={"b": 2.0}) == "emphasis is of b; the paintings are p"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", (32, 4096)),
        ("style_size", (32,)),
        ("batch_size", (1,)),
        ("content_weight", 0.0),
        ("tv_weight", 0),
        ("warmup_steps", 0),
        ("average_decay", 0.0),
        ("steps", 1),
        ("epochs", 0.25),
        ("minutes", 0.1),
        ("seed", 0),
        ("seed", 2**63 - 1),
    ],
)
def test_ends_of_the_ranges_are_allowed(name: str, value: Any) -> None:
    assert getattr(make(batch_size=(2,), **({name: value} if name != "batch_size" else {})), name) is not None


@pytest.mark.parametrize("name", ["pooling", "device", "precision"])
def test_unknown_choice_is_refused_with_what_there_is(name: str) -> None:
    assert refused(**{name: "middling"}).startswith(f"{name} is 'middling'; it must be one of ")


@pytest.mark.parametrize("name", ["image_size", "batch_size", "style_size", "loss_network"])
def test_empty_list_is_refused(name: str) -> None:
    assert refused(**{name: ()}) == f"{name} is empty; it needs a value"


@pytest.mark.parametrize("name", ["content_layers", "style_layers"])
@pytest.mark.parametrize("layers", [(), ("relu1_1:x",), ("relu1_1:0",), ("relu1_1:-1", "relu2_1:3"), ("relu1_1:inf",)])
def test_layers_need_weights_that_make_sense(name: str, layers: tuple[str, ...]) -> None:
    assert refused(**{name: layers}).startswith(name)


@pytest.mark.parametrize(
    "lengths",
    [{"steps": 5, "epochs": 1.0}, {"steps": 5, "minutes": 1.0}, {"epochs": 1.0, "minutes": 1.0}],
)
def test_only_one_length_can_be_given(lengths: dict[str, float]) -> None:
    assert "give one of them" in refused(**lengths)


def test_image_sizes_and_batch_sizes_go_together() -> None:
    assert make(image_size=(64, 96, 128), batch_size=(4,)).batch_size == (4,)
    assert make(image_size=(64, 96), batch_size=(4, 2)).batch_size == (4, 2)
    assert refused(image_size=(64, 96, 128), batch_size=(4, 2)) == "batch_size has 2 values and image_size 3"
    assert refused(image_size=(64,), batch_size=(4, 2)) == "batch_size has 2 values and image_size 1"


@pytest.mark.parametrize(
    ("name", "value"), [("width", 0), ("width", 513), ("blocks", -1), ("blocks", 65)], ids=lambda v: str(v)
)
def test_network_shape_out_of_range_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name} is {value}; it must be from "):
        TransformerArgs(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["norm", "upsample", "padding", "output"])
def test_unknown_network_part_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is 'other'; it must be one of "):
        TransformerArgs(**{name: "other"})  # type: ignore[arg-type]


def test_defaults_are_a_complete_run() -> None:
    config = make()
    assert config.network == TransformerArgs()
    assert (config.steps, config.epochs, config.minutes) == (None, None, None)
    assert len(config.batch_size) == len(config.image_size)
    assert config.resume
    assert not config.absolute


def test_folder_is_beside_the_output_unless_given() -> None:
    assert make().folder == Path("out/s.onnx.training")
    assert make(checkpoint_dir=Path("elsewhere")).folder == Path("elsewhere")


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().seed = 3  # type: ignore[misc]


def test_weights_of_layers_are_read_from_their_names() -> None:
    assert parse_weighted(("relu1_1", "relu2_1:0.5", "relu3_1:0"), "layers") == {
        "relu1_1": 1.0,
        "relu2_1": 0.5,
        "relu3_1": 0.0,
    }


@pytest.mark.parametrize("item", ["a:b", "a:1:2", "a:1,0"])
def test_weight_that_is_no_number_is_shown(item: str) -> None:
    with pytest.raises(ValueError, match=f"layers has '{item}'; write a name"):
        parse_weighted((item,), "layers")


@given(st.dictionaries(st.text("relu_1234", min_size=1), st.floats(1e-6, 1e6), min_size=1))
def test_weights_written_out_are_read_back(weights: dict[str, float]) -> None:
    assert parse_weighted([f"{k}:{v!r}" for k, v in weights.items()], "layers") == weights


def test_json_holds_everything_and_gives_the_same_settings_back() -> None:
    config = make(
        network=TransformerArgs(width=4, padding="zeros"),
        epochs=1.5,
        image_size=(64, 96),
        batch_size=(2,),
        checkpoint_dir=Path("c"),
        style_layers=("relu1_1:0.5",),
        about={"p": {"rights": "© nobody"}},
        stylenet=StyleNetArgs(widths=(3, 5)),
    )
    data = json.loads(json.dumps(to_json(config)))
    assert data == to_json(config)
    assert data.keys() == {field.name for field in dataclasses.fields(config)}
    assert data["network"]["width"] == 4
    assert data["photos"] == "photos"
    restored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    restored |= {k: Path(data[k]) for k in ("photos", "output", "checkpoint_dir")} | {"paintings": (Path("p.jpg"),)}
    restored["stylenet"] = StyleNetArgs(**data["stylenet"] | {"widths": tuple(data["stylenet"]["widths"])})
    restored["network"] = TransformerArgs(**data["network"])
    assert TrainConfig(**restored) == config


def test_settings_do_not_need_pytorch() -> None:
    script = "import sys, impasto.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0

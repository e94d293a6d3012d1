"""The network of many styles: its rows, its photograph, its rewrites, and its style file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from conftest import palette_spec, random_palette
from impasto.config import StyleNetArgs
from impasto.errors import StyleError
from impasto.export import load_network, load_trainable, make_network
from impasto.networks.rewrite import for_inference
from impasto.networks.stylenet import StyleNet, tables, with_rows
from impasto.networks.transformer import TransformerNet
from impasto.styles import read_style

SHAPES: dict[str, dict[str, Any]] = {
    "usual": {"widths": (4, 6), "blocks": 2},
    "deep": {"widths": (4, 5, 6), "blocks": 1, "skips": True, "upsample": "bilinear"},
    "separable": {"widths": (4, 8), "blocks": 1, "separable": True, "kernel": 5, "stem": 3},
    "shallow": {"widths": (6,), "blocks": 0},
}


def make(rows: int = 4, **kwargs: Any) -> StyleNet:
    torch.manual_seed(0)
    net = StyleNet(rows=rows, **kwargs).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.2)
    return net.double()


def photo(count: int = 1, height: int = 24, width: int = 32) -> Tensor:
    return torch.rand(count, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def weights(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("kwargs", SHAPES.values(), ids=SHAPES)
def test_output_has_the_size_of_the_photo(kwargs: dict[str, Any]) -> None:
    painted = make(**kwargs)(photo(2), weights([0, 1, 0, 0], [0.5, 0, 0.25, 0.25]))
    assert painted.shape == (2, 3, 24, 32)
    assert painted.isfinite().all()


@pytest.mark.parametrize("kwargs", SHAPES.values(), ids=SHAPES)
def test_row_0_is_the_photograph_to_the_bit(kwargs: dict[str, Any]) -> None:
    assert torch.equal(make(**kwargs)(photo(), weights([1, 0, 0, 0])), photo())


def test_photos_of_a_batch_have_styles_of_their_own() -> None:
    net, image = make(**SHAPES["usual"]), photo(2)
    rows = weights([0, 1, 0, 0], [0.3, 0, 0, 0.7])
    both = net(image, rows)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], net(image[i : i + 1], rows[i : i + 1]), rtol=1e-12, atol=1e-12)
    assert (both[0] - net(image[:1], rows[1:])[0]).abs().max() > 0.01


def test_training_computes_what_inference_does() -> None:
    net, image, rows = make(**SHAPES["usual"]).float(), photo().float(), weights([0.2, 0.5, 0.3, 0]).float()
    trained = net(image.requires_grad_(), rows)
    with torch.inference_mode():
        torch.testing.assert_close(trained, net(image, rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kwargs", SHAPES.values(), ids=SHAPES)
def test_rewritten_for_inference_it_computes_the_same(kwargs: dict[str, Any]) -> None:
    net, rows = make(**kwargs), weights([0.1, 0.2, 0.3, 0.4])
    rewritten = for_inference(net)
    with torch.inference_mode():
        torch.testing.assert_close(rewritten(photo(), rows), net(photo(), rows), rtol=0, atol=1e-11)
    assert not any("ResizeConv" in type(module).__name__ for module in rewritten.modules())


def test_rows_are_replaced_and_all_else_stays() -> None:
    net = make(**SHAPES["usual"])
    swapped = with_rows(net, {name: table[[2, 0]] for name, table in tables(net).items()}).double()
    assert swapped.rows == 3
    torch.testing.assert_close(swapped(photo(), weights([0, 1, 0])), net(photo(), weights([0, 0, 0, 1])))
    torch.testing.assert_close(swapped(photo(), weights([0.5, 0, 0.5])), net(photo(), weights([0.5, 0.5, 0, 0])))


def test_every_style_has_rows_of_its_own_only_in_the_tables() -> None:
    few, many = (StyleNet(rows=rows, **SHAPES["usual"]) for rows in (3, 9))
    names = set(tables(few))
    assert {n for n, p in few.named_parameters() if p.shape != dict(many.named_parameters())[n].shape} == names
    assert all(len(table) == 2 for table in tables(few).values())


@pytest.mark.parametrize(
    "wrong",
    [{"widths": ()}, {"widths": (0,)}, {"stem": 4}, {"kernel": 8}, {"blocks": -1}, {"upsample": "cubic"}],
    ids=str,
)
def test_shapes_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        StyleNetArgs(**wrong)


# ------------------------------------------------------------------------------------------------- its style file


def test_style_file_paints_as_the_network_at_every_size(palette: Path) -> None:
    net = random_palette(("one", "two"))
    style = read_style(palette)
    rows = np.array([0.2, 0.5, 0, 0, 0.3], np.float32)
    for height, width in ((8, 8), (84, 100), (20, 136)):
        image = np.random.default_rng(0).random((1, 3, height, width), np.float32)
        with torch.inference_mode():
            expected = net(torch.from_numpy(image), torch.from_numpy(rows)[None]).clamp(0, 1).numpy()
        painted = style.runtime("cpu", "float32")(image, rows)
        assert np.abs(painted - expected).mean() < 0.5 / 255, (height, width)
        assert expected.std() > 0.05
    again = load_network(style.data)(torch.from_numpy(image), torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(again, painted, atol=2e-3)


def test_style_file_says_what_is_in_it(palette: Path) -> None:
    spec = read_style(palette).spec
    assert (spec.architecture, spec.names, spec.rows) == ("StyleNet", ["one", "two"], 5)
    assert (spec.multiple, spec.min_size) == (4, 8)
    made = make_network(spec)
    assert isinstance(made, StyleNet)
    assert (made.args.widths, made.rows) == ((4, 6), 5)


def test_style_file_loads_back_to_be_trained(palette: Path) -> None:
    net, again = random_palette(("one", "two")), load_trainable(palette.read_bytes(), "palette.onnx")
    image, rows = photo().float(), weights([0, 0.5, 0, 0, 0.5]).float()
    torch.testing.assert_close(again(image, rows), net(image, rows), rtol=0, atol=5e-3)
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_a_network_of_one_style_loads_back_too(tiny: Path) -> None:
    torch.manual_seed(0)
    net, again = TransformerNet(width=4, blocks=1).eval(), load_trainable(tiny.read_bytes(), "tiny.onnx").eval()
    torch.testing.assert_close(again(photo().float()), net(photo().float()), rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "arguments", [{}, {"widths": 3}, {"widths": [4, 6], "blocks": 9}, {"depth": 2, "widths": [4]}], ids=str
)
def test_arguments_that_do_not_fit_are_refused(palette: Path, arguments: dict[str, Any]) -> None:
    model = onnx.load(palette)
    spec = palette_spec(random_palette(("one", "two")), ("one", "two"))
    onnx.helper.set_model_props(model, {"impasto": replace(spec, arguments=arguments).to_json()})
    with pytest.raises(StyleError, match=r"do not fit a StyleNet|has no weights"):
        load_network(model.SerializeToString())

"""Style files: what is in them, that they paint as PyTorch does, and that a wrong one is never written."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from impasto import export
from impasto.errors import StyleError
from impasto.export import export_style, load_network, make_spec
from impasto.networks.rewrite import for_inference
from impasto.networks.transformer import TransformerNet
from impasto.runtimes import OpenVINORuntime
from impasto.specs import StyleEntry
from impasto.styles import read_style


def make_net(**kwargs: Any) -> TransformerNet:
    torch.manual_seed(1)
    net = TransformerNet(**({"width": 4, "blocks": 1} | kwargs)).eval().requires_grad_(False)
    for name, value in net.named_parameters():
        if "norm" in name:
            value.normal_(0.5, 0.5)
    return net


ENTRY = StyleEntry(name="tiny", title="Tiny", artist="Nobody", year="2026")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[TransformerNet, Path]:
    path = tmp_path_factory.mktemp("export") / "tiny.onnx"
    net = make_net()
    export_style(net, path, make_spec(net, entries=(ENTRY,), recipe={"steps": 3}))
    return net, path


@pytest.mark.parametrize("size", [(32, 32), (40, 64), (84, 100)])
def test_openvino_and_onnx_runtime_paint_what_pytorch_paints(
    exported: tuple[TransformerNet, Path], size: tuple[int, int]
) -> None:
    net, path = exported
    image = np.random.default_rng(5).random((1, 3, *size), dtype=np.float32)
    expected = net(torch.from_numpy(image)).clamp(0, 1).numpy()
    assert (expected == 0).any()  # or what follows would not tell whether the output is clamped
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for painted in (
        OpenVINORuntime(path.read_bytes(), precision="float32")(image),
        session.run(["stylized"], {"image": image})[0],
        load_network(path.read_bytes())(torch.from_numpy(image)).numpy(),
    ):
        assert np.abs(painted - expected).mean() < 0.5 / 255
        assert painted.min() == 0


def test_the_file_says_what_it_is(exported: tuple[TransformerNet, Path]) -> None:
    net, path = exported
    spec = read_style(path).spec
    assert spec.entries == (ENTRY,)
    assert spec.architecture == "TransformerNet"
    assert spec.arguments["width"] == net.args.width
    assert spec.recipe == {"steps": 3}
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {t.data_type for t in model.graph.initializer if t.dims and t.name.endswith(".half")} == {
        TensorProto.FLOAT16
    }
    assert path.stat().st_size < 3 * sum(p.numel() for p in net.parameters()) + 60_000


def test_the_file_tells_nothing_of_this_machine(exported: tuple[TransformerNet, Path]) -> None:
    data = exported[1].read_bytes()
    for folder in (str(Path(__file__).parent), str(Path.home()) + os.sep, "site-packages"):
        assert folder.encode() not in data


def test_exporting_leaves_the_network_as_it_was() -> None:
    net = make_net().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for_inference(net)
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_float32_weights_where_float16_would_move_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, sizes = make_net(), []
    spec = make_spec(net, entries=(ENTRY,))
    model = export.to_onnx(export.StyleGraph(for_inference(net), spec), export.probe_for(spec)).SerializeToString()
    monkeypatch.setattr(export, "to_onnx", lambda *_: onnx.ModelProto.FromString(model))  # each takes seconds
    for tolerance in (1.0, 1e-6):
        path = tmp_path / f"{tolerance}.onnx"
        export_style(net, path, spec, tolerance=tolerance)
        sizes.append(path.stat().st_size)
    assert sizes[1] > sizes[0] + sum(p.numel() for p in net.parameters())
    monkeypatch.setattr(export, "difference", lambda *_: float("nan"))
    with pytest.raises(StyleError, match=r"not written, since OpenVINO's output"):
        export_style(net, tmp_path / "wrong.onnx", spec)
    assert not (tmp_path / "wrong.onnx").exists()


def test_a_full_disk_leaves_nothing(
    exported: tuple[TransformerNet, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    model = onnx.load(exported[1])
    monkeypatch.setattr(export, "to_onnx", lambda *_: model)
    monkeypatch.setattr(export, "difference", lambda *_: 0.0)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StyleError, match=r"full\.onnx: cannot write the style file \(No space left on device\)"):
        export_style(make_net(), tmp_path / "full.onnx", make_spec(make_net(), entries=(ENTRY,)))
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_shape_does_not_load_back(exported: tuple[TransformerNet, Path]) -> None:
    model = onnx.load(exported[1])
    spec = make_spec(make_net(width=8), entries=(ENTRY,))
    onnx.helper.set_model_props(model, {"impasto": spec.to_json()})
    with pytest.raises(StyleError, match="do not fit a TransformerNet"):
        load_network(model.SerializeToString())
    onnx.helper.set_model_props(model, {"impasto": spec.to_json().replace('"width"', '"height"')})
    with pytest.raises(StyleError, match="do not fit a TransformerNet"):
        load_network(model.SerializeToString())


def test_the_probe_is_large_enough_for_any_network() -> None:
    net = make_net(width=1, blocks=12, padding="start")
    (probe,) = export.probe_for(make_spec(net, entries=(ENTRY,)))
    assert net(probe).shape == probe.shape

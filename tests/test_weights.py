"""One random network written in every format it may come in, against the definition of what that format means."""

import contextlib
import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from scipy.io import loadmat, savemat
from torch import Tensor
from torch.nn import functional as F

from impasto.downloads import Asset
from impasto.errors import WeightsError
from impasto.networks import weights
from impasto.networks.matlab import read_mat
from impasto.networks.vgg import VGG
from impasto.networks.weights import load_loss_network

VGG16 = "1_1 1_2 P 2_1 2_2 P 3_1 3_2 3_3 P 4_1 4_2 4_3 P 5_1 5_2 5_3"
VGG19 = "1_1 1_2 P 2_1 2_2 P 3_1 3_2 3_3 3_4 P 4_1 4_2 4_3 4_4 P 5_1 5_2 5_3 5_4"
PLANS = {"vgg16": VGG16.split(), "vgg19": VGG19.split()}
FEATURES = {
    "vgg16": (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    "vgg19": (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34),
}
WIDTHS = (5, 6, 7, 8, 9)
PHOTO = torch.rand(1, 3, 37, 50, generator=torch.Generator().manual_seed(8))
MEAN = torch.tensor([123.68, 116.779, 103.939])
"""RGB, in [0, 255]."""
VGG19_BLUE = torch.tensor(
    [
        [0.34119523, 0.33999205, -0.04484424],
        [0.23215917, 0.08978214, -0.30331427],
        [-0.07260918, -0.246675, -0.33683276],
    ]
)
"""Oxford's first kernel of VGG-19 for blue: rows are y, columns x."""

State = dict[str, Tensor]


def random_state(architecture: str = "vgg19", last: str = "5_9") -> State:
    """Weights and biases as ``1_1.weight`` ... ``1_1.bias``; the first layer small enough for an input of hundreds."""
    generator = torch.Generator().manual_seed(3)
    state: State = {}
    inputs = 3
    for name in PLANS[architecture]:
        if name != "P" and name <= last:
            outputs = WIDTHS[int(name[0]) - 1]
            state[f"{name}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * 0.3
            state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
            inputs = outputs
    return state


def defined(architecture: str, state: State, seen: Tensor, mode: str = "constant") -> State:
    """Features by the definition; `seen` is what the first layer sees."""
    features: State = {}
    for step in PLANS[architecture]:
        if step == "P":
            seen = F.max_pool2d(seen, 2)
        elif f"{step}.weight" in state:
            padded = F.pad(seen, (1, 1, 1, 1), mode=mode)
            seen = F.conv2d(padded, state[f"{step}.weight"], state[f"{step}.bias"]).clamp(min=0)
            features[f"relu{step}"] = seen
    return features


def assert_features(network: VGG, expected: State) -> None:
    """The network has these layers, and they are equal but for rounding."""
    assert network.layers == list(expected)
    for layer, value in network(PHOTO, network.layers).items():
        assert value.shape == expected[layer].shape
        assert (value - expected[layer]).abs().max() < 2e-4 * expected[layer].max(), layer


def imagenet() -> Tensor:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (PHOTO - mean[:, None, None]) / std[:, None, None]


def bgr() -> Tensor:
    """What Caffe's networks see."""
    return (255 * PHOTO - MEAN[:, None, None]).flip(1)


def torchvision(state: State, architecture: str) -> State:
    names = [name for name in PLANS[architecture] if name != "P"]
    index = dict(zip(names, FEATURES[architecture], strict=True))
    keys = {key: key.split(".") for key in state}
    return {f"features.{index[name]}.{part}": state[key] for key, (name, part) in keys.items()}


def prefixed(state: State) -> State:
    return {f"conv{key}": value for key, value in state.items()}


def distilled(state: State) -> State:
    return {f"conv{key.replace('_', '')}": value for key, value in state.items()}


def own_normalisation() -> State:
    return {"weight": 255 * torch.eye(3).flip(0)[:, :, None, None], "bias": -MEAN.flip(0)}


def save_legacy(value: object, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def save_matconvnet(state: State, path: Path, *, old: bool = False, compress: bool = False) -> None:
    """Write a SimpleNN network as MatConvNet does: kernels (y, x, in, out), rows for vectors, cells for lists."""
    layers = []
    for step in [name for name in PLANS["vgg19"] if name == "P" or f"{name}.weight" in state]:
        if step == "P":
            layers.append({"type": "pool", "name": "pool", "stride": np.array([[2.0, 2.0]])})
            continue
        cell = np.empty((1, 2), dtype=object)
        cell[0, 0] = np.ascontiguousarray(state[f"{step}.weight"].numpy().transpose(2, 3, 1, 0))
        cell[0, 1] = state[f"{step}.bias"].numpy()[None]
        layers += [{"type": "conv", "name": f"conv{step}", "weights": cell}, {"type": "relu", "name": f"relu{step}"}]
    fc6 = np.empty((1, 2), dtype=object)
    fc6[0, 0], fc6[0, 1] = np.zeros((7, 7, 9, 4), np.float32), np.zeros((1, 4), np.float32)
    layers.append({"type": "conv", "name": "fc6", "weights": fc6})
    mean = MEAN.numpy().reshape(1, 1, 3).astype(np.float64)
    ripple = np.array([[-4.0, 4.0], [6.0, -6.0]])[:, :, None]
    normalization = {"averageImage": mean + ripple if old else mean, "imageSize": np.array([[224.0, 224.0, 3.0]])}
    rest = {"normalization": normalization} if old else {"meta": {"normalization": normalization}}
    savemat(
        path, {"layers": np.array(layers, dtype=object).reshape(1, -1), **rest}, do_compression=compress, oned_as="row"
    )


@pytest.mark.parametrize("save", [torch.save, save_legacy, save_file], ids=["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_torchvision(architecture: str, save: Callable[[State, Path], None], tmp_path: Path) -> None:
    state = random_state(architecture)
    classifier = {"classifier.0.weight": torch.zeros(4, 9), "classifier.0.bias": torch.zeros(4)}
    save(torchvision(state, architecture) | classifier, tmp_path / "weights")
    assert_features(load_loss_network(tmp_path / "weights"), defined(architecture, state, imagenet()))


@pytest.mark.parametrize("last", ["1_1", "3_3", "4_1"])
@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_a_file_may_end_at_any_layer(architecture: str, last: str, tmp_path: Path) -> None:
    state = random_state(architecture, last)
    torch.save(torchvision(state, architecture), tmp_path / "weights")
    assert_features(load_loss_network(tmp_path / "weights"), defined(architecture, state, imagenet()))


def test_wrapped_parallel_and_half_precision(tmp_path: Path) -> None:
    state = {key: value.half() for key, value in random_state().items()}
    wrapped = {"state_dict": {f"module.{key}": value for key, value in torchvision(state, "vgg19").items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "weights.pth")
    single = {key: value.float() for key, value in state.items()}
    assert_features(load_loss_network(str(tmp_path / "weights.pth")), defined("vgg19", single, imagenet()))


@pytest.mark.parametrize("scale", [1.0, 0.05], ids=["published", "rescaled"])
def test_oxford_s_weights_under_torchvision_s_names_are_caffe_s(scale: float, tmp_path: Path) -> None:
    state = random_state()
    state["1_1.weight"][0, 0] = scale * VGG19_BLUE
    torch.save(torchvision(state, "vgg19"), tmp_path / "any-name.pth")
    assert_features(load_loss_network(tmp_path / "any-name.pth"), defined("vgg19", state, bgr()))


def test_the_mark_of_oxford_s_vgg16(tmp_path: Path) -> None:
    state = random_state("vgg16")
    kernel = [0.42947057, 0.373467, -0.061360113, 0.27476987, 0.038680777, -0.36722335, -0.05746817, -0.26224968]
    state["1_1.weight"][0, 0] = torch.tensor([*kernel, -0.35009676]).reshape(3, 3)
    torch.save(torchvision(state, "vgg16"), tmp_path / "weights.pth")
    assert_features(load_loss_network(tmp_path / "weights.pth"), defined("vgg16", state, bgr()))


def test_a_turned_kernel_is_not_the_mark(tmp_path: Path) -> None:
    state = random_state()
    state["1_1.weight"][0, 0] = VGG19_BLUE.T
    torch.save(torchvision(state, "vgg19"), tmp_path / "weights.pth")
    assert_features(load_loss_network(tmp_path / "weights.pth"), defined("vgg19", state, imagenet()))


def test_the_convention_can_be_said(tmp_path: Path) -> None:
    state = random_state()
    torch.save(torchvision(state, "vgg19"), tmp_path / "a.pth")
    torch.save(prefixed(state), tmp_path / "b.pth")
    caffe = load_loss_network(tmp_path / "a.pth", convention="caffe")
    assert_features(caffe, defined("vgg19", state, bgr()))
    assert_features(
        load_loss_network(tmp_path / "b.pth", convention="torchvision"), defined("vgg19", state, imagenet())
    )
    with pytest.raises(ValueError, match="convention is 'keras'; it must be one of auto, torchvision, caffe"):
        load_loss_network(tmp_path / "a.pth", convention="keras")  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_caffe_s_layer_names(architecture: str, tmp_path: Path) -> None:
    state = random_state(architecture)
    torch.save(prefixed(state) | {"fc6.weight": torch.zeros(4, 9)}, tmp_path / "vgg_conv.pth")
    assert_features(load_loss_network(tmp_path / "vgg_conv.pth"), defined(architecture, state, bgr()))


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("old", [True, False], ids=["normalization", "meta.normalization"])
def test_matconvnet(old: bool, compress: bool, tmp_path: Path) -> None:
    state = random_state()
    save_matconvnet(state, tmp_path / "imagenet-vgg-verydeep-19.mat", old=old, compress=compress)
    network = load_loss_network(tmp_path / "imagenet-vgg-verydeep-19.mat")
    assert_features(network, defined("vgg19", state, 255 * PHOTO - MEAN[:, None, None]))


@pytest.mark.parametrize("last", ["3_1", "5_1"])
def test_our_safetensors(last: str, tmp_path: Path) -> None:
    state = random_state("vgg19", last)
    normalize = {f"normalize.{part}": value for part, value in own_normalisation().items()}
    save_file(prefixed(state) | normalize, tmp_path / "vgg.safetensors")
    expected = defined("vgg19", state, bgr(), mode="reflect")
    assert_features(load_loss_network(tmp_path / "vgg.safetensors", convention="torchvision"), expected)


def test_the_distilled_network(tmp_path: Path) -> None:
    state = random_state("vgg19", "5_1")
    extra = {f"conv0.{part}": value for part, value in own_normalisation().items()}
    extra |= {"conv11_aux.weight": torch.randn(64, 5, 1, 1), "conv11_aux.bias": torch.randn(64)}
    save_legacy({"epoch": 20, "model": distilled(state) | extra}, tmp_path / "e20.pth")
    network = load_loss_network(tmp_path / "e20.pth")
    expected = defined("vgg19", state, bgr(), mode="reflect")
    projected = F.conv2d(expected["relu1_1"], extra["conv11_aux.weight"], extra["conv11_aux.bias"]).clamp(min=0)
    assert_features(network, expected | {"relu1_1": projected})


def test_pooling_is_passed_on(tmp_path: Path) -> None:
    torch.save(torchvision(random_state(), "vgg19"), tmp_path / "weights.pth")
    average, most = (load_loss_network(tmp_path / "weights.pth", pooling=pooling) for pooling in ("avg", "max"))
    assert not torch.equal(average(PHOTO, ["relu2_1"])["relu2_1"], most(PHOTO, ["relu2_1"])["relu2_1"])
    with pytest.raises(ValueError, match="pooling is 'median'"):
        load_loss_network(tmp_path / "weights.pth", pooling="median")


def refused(state: Mapping[str, Any] | object, path: Path, match: str) -> None:
    """Loading ends in one line that names the file."""
    torch.save(state, path)
    with pytest.raises(WeightsError, match=match) as caught:
        load_loss_network(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_layers_are_listed(tmp_path: Path) -> None:
    state = torchvision(random_state(), "vgg19")
    for key in ("features.12.weight", "features.12.bias", "features.30.bias"):
        del state[key]
    missing = "conv3_2.weight is missing, conv3_2.bias is missing, conv5_2.bias is missing"
    refused(state, tmp_path / "weights.pth", f"does not fit vgg19: {missing}$")


def test_wrong_shapes_are_listed(tmp_path: Path) -> None:
    state = prefixed(random_state())
    state["conv1_2.weight"] = state["conv1_2.weight"][:, :4]
    state["conv2_1.bias"] = torch.tensor(1.0)
    state["conv5_4.weight"] = state["conv5_4.weight"][..., :1]
    match = r"conv1_2\.weight is \(5, 4, 3, 3\), not \(5, 5, 3, 3\), conv2_1\.bias is \(\), not .*conv5_4\.weight is"
    refused(state, tmp_path / "weights.pth", match)


@pytest.mark.parametrize("kind", ["project", "linear"])
def test_a_projection_of_another_network_is_refused(tmp_path: Path, kind: str) -> None:
    head = {f"{kind}2_1.weight": torch.zeros(4, 5, 1, 1), f"{kind}2_1.bias": torch.zeros(4)}
    match = rf"{kind}2_1\.weight is \(4, 5, 1, 1\), not \(4, 6, 1, 1\)$"
    refused(prefixed(random_state()) | head, tmp_path / "weights.pth", match)
    nowhere = {f"{kind}9_1.weight": torch.zeros(4, 5, 1, 1), f"{kind}9_1.bias": torch.zeros(4)}
    refused(prefixed(random_state()) | nowhere, tmp_path / "weights.pth", f"{kind}9_1 has no place")


def test_other_networks_are_refused(tmp_path: Path) -> None:
    vgg13 = (0, 2, 5, 7, 10, 12, 15, 17, 20, 22)
    state = {f"features.{i}.weight": torch.zeros(3, 3, 3, 3) for i in vgg13}
    state |= {f"features.{i}.bias": torch.zeros(3) for i in vgg13}
    refused(state, tmp_path / "vgg13.pth", r"does not fit vgg\d\d: .*has no place")
    refused({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth", "conv1_1.weight is missing")
    refused({}, tmp_path / "empty.pth", "conv1_1.weight is missing")
    wide = {"conv1_1.weight": torch.zeros(1).expand(1 << 40, 3, 3, 3), "conv1_1.bias": torch.zeros(1).expand(1 << 40)}
    refused(wide, tmp_path / "wide.pth", r"conv1_1.bias is \(1099511627776,\), not \(1 to 512\)")


def test_batch_normalisation_is_refused(tmp_path: Path) -> None:
    state = {"features.0.weight": torch.zeros(5, 3, 3, 3), "features.1.running_mean": torch.zeros(5)}
    refused(state, tmp_path / "vgg16_bn.pth", "batch normalisation; the plain one is needed")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("save", [torch.save, save_legacy], ids=["zip", "legacy"])
def test_a_hostile_pickle_is_not_run(save: Callable[[object, Path], None], tmp_path: Path) -> None:
    state = {**torchvision(random_state(), "vgg19"), "features.0.bias": Hostile(tmp_path / "ran")}
    save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"cannot be read as weights .* more than tensors"):
        load_loss_network(tmp_path / "weights.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        load_loss_network(tmp_path / "plain.pkl")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), {"model": 3}, "text"], ids=["list", "tensor", "int", "str"]
)
def test_other_contents_are_refused(content: object, tmp_path: Path) -> None:
    refused(content, tmp_path / "weights.pth", "cannot be read as weights|does not fit")


def test_sparse_weights_are_no_weights(tmp_path: Path) -> None:
    state = prefixed(random_state("vgg19", "1_1"))
    refused({**state, "conv1_1.bias": state["conv1_1.bias"].to_sparse()}, tmp_path / "w.pth", "conv1_1.bias is missing")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small good file of each container."""
    folder = tmp_path_factory.mktemp("whole")
    state = random_state("vgg19", "2_1")
    torch.save(prefixed(state), folder / "zip")
    save_legacy(prefixed(state), folder / "legacy")
    save_file(prefixed(state), folder / "safetensors")
    save_matconvnet(state, folder / "mat")
    save_matconvnet(state, folder / "mat-compressed", compress=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "mat", "mat-compressed"])
@settings(max_examples=40, deadline=None)
@given(fraction=st.floats(0, 0.999))
def test_truncated_files(kind: str, fraction: float, whole_files: dict[str, bytes], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / f"truncated-{kind}"
    path.write_bytes(whole_files[kind][: int(len(whole_files[kind]) * fraction)])
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_loss_network(path)


@pytest.mark.parametrize("kind", ["legacy", "safetensors", "mat", "mat-compressed"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_files_load_or_are_refused(
    kind: str, data: st.DataObject, whole_files: dict[str, bytes], tmp_path_factory: Any
) -> None:
    content = bytearray(whole_files[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content) - 1, 4000)))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{kind}"
    path.write_bytes(content)
    with contextlib.suppress(WeightsError):
        load_loss_network(path)


@settings(max_examples=60, deadline=None)
@given(head=st.sampled_from([b"", b"MATLAB 5.0 MAT-file", b"MATLAB 7.3 MAT-file", b"PK\x03\x04", b"12345678{"]))
def test_other_files_are_refused(head: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "other"
    path.write_bytes(head + os.urandom(300))
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        load_loss_network(path)


def test_mat_files_read_as_scipy_reads_them(tmp_path: Path) -> None:
    struct = np.zeros((1, 2), dtype=[("name", object), ("values", object)])
    struct[0, 0], struct[0, 1] = ("naïve", np.arange(3, dtype=np.uint8)), ("x", np.empty((0, 0)))
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    savemat(tmp_path / "values.mat", {"one": 2.5, "array": array, "text": "conv1_1", "structs": struct})
    read = read_mat(tmp_path / "values.mat")
    expected = loadmat(tmp_path / "values.mat", simplify_cells=True)
    assert read["one"] == expected["one"]
    assert np.array_equal(read["array"], array)
    assert read["text"] == "conv1_1"
    assert [item["name"] for item in read["structs"]] == [item["name"] for item in expected["structs"]]
    assert np.array_equal(read["structs"][0]["values"], [[0, 1, 2]])
    assert read["structs"][1]["values"].size == 0
    savemat(tmp_path / "complex.mat", {"z": np.array([1j])})
    with pytest.raises(ValueError, match="class 6 is not read here"):
        read_mat(tmp_path / "complex.mat")


def test_neither_a_name_nor_a_file(tmp_path: Path) -> None:
    for source in ("vgg11", tmp_path, tmp_path / "none.pth"):
        with pytest.raises(WeightsError, match="neither a file nor one of vgg19-compact, vgg16, vgg19, vgg19-small16x"):
            load_loss_network(source)


def test_the_package_has_a_loss_network_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path))
    file = weights.locate("vgg19-compact")
    assert file.stat().st_size < 2.5e6
    network = load_loss_network("vgg19-compact", thin=False)
    assert network.compressed
    image = torch.rand(1, 3, 64, 48)
    firsts = [f"relu{block}_1" for block in range(1, 6)]
    widths = {k: v.shape[1] for k, v in network(image, firsts).items()}
    assert widths == dict(zip(firsts, (64, 128, 256, 512, 512), strict=True))
    assert not list(tmp_path.iterdir())


def test_a_name_takes_safetensors_from_the_cache_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path))
    downloads: list[str] = []

    def fetch(asset: Asset, *, progress: object) -> Path:
        assert progress is None
        downloads.append(asset.name)
        torch.save(torchvision(random_state("vgg19", "1_2"), "vgg19"), tmp_path / asset.name)
        return tmp_path / asset.name

    monkeypatch.setattr(weights, "fetch", fetch)
    assert load_loss_network("vgg19").layers == ["relu1_1", "relu1_2"]
    assert downloads == ["vgg19-dcbb9e9d.pth"]
    save_file(prefixed(random_state("vgg19", "1_1")), tmp_path / "vgg19.safetensors")
    assert load_loss_network("vgg19").layers == ["relu1_1"]
    assert len(downloads) == 1


def test_published_files_are_what_their_names_promise() -> None:
    assert list(weights.ASSETS) == ["vgg16", "vgg19", "vgg19-small16x"]
    for asset in weights.ASSETS.values():
        assert len(asset.sha256) == 64
        if published := re.search(r"-([0-9a-f]{8})\.pth$", asset.name):  # torchvision's names tell the beginning
            assert asset.sha256.startswith(published[1])


REAL = Path(os.environ.get("IMPASTO_TEST_WEIGHTS", "/nonexistent"))


@pytest.mark.parametrize(
    "name",
    [
        "vgg16-397923af.pth",
        "vgg19-dcbb9e9d.pth",
        "vgg16-00b39a1b.pth",
        "vgg19-d01eb7cb.pth",
        "imagenet-vgg-verydeep-19.mat",
        "vgg19-small16x.pth",
        "vgg19-small16x.safetensors",
        "vgg19-to-relu3_1.safetensors",
    ],
)
def test_real_weights(name: str) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"IMPASTO_TEST_WEIGHTS names no folder with {name}")
    network = load_loss_network(REAL / name)
    smooth = F.interpolate(torch.rand(1, 3, 12, 12), size=(96, 96), mode="bicubic").clamp(0, 1)
    features = network(smooth, network.layers)
    assert all(torch.isfinite(value).all() and value.max() > 0 for value in features.values())
    first = network.get_submodule("conv1_1").weight
    assert isinstance(first, Tensor)
    if name in ("vgg19-d01eb7cb.pth", "imagenet-vgg-verydeep-19.mat", "vgg19-to-relu3_1.safetensors"):
        blue = first[0, 2 if name.endswith(".mat") else 0]
        assert F.cosine_similarity(blue.flatten(), VGG19_BLUE.flatten(), dim=0) > 0.9999

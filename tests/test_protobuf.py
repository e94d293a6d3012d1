"""Parts of ONNX files, against ONNX's own reading and writing of them."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from conftest import colors_model
from impasto import protobuf


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3))
def test_numbers_are_read_as_written(value: int, rest: bytes) -> None:
    made = protobuf.varint(value)
    assert protobuf.read_varint(made + rest, 0) == (value, len(made))


def test_every_field_of_a_model_is_written_as_it_was() -> None:
    data = colors_model().SerializeToString()
    assert b"".join(protobuf.written(*part) for part in protobuf.fields(data)) == data


@pytest.mark.parametrize("cut", [1, 2, 5, 50])
def test_a_model_that_is_cut_off_is_told(cut: int) -> None:
    data = colors_model().SerializeToString()
    with pytest.raises(ValueError, match="cut off"):
        list(protobuf.fields(data[:-cut]))


def test_unknown_kinds_are_told() -> None:
    with pytest.raises(ValueError, match="unknown kind 3"):
        list(protobuf.fields(bytes([1 << 3 | 3])))


def test_fixed_fields_are_stepped_over() -> None:
    message = bytes([1 << 3 | 1]) + bytes(8) + bytes([2 << 3 | 5]) + bytes(4) + protobuf.number(3, 300)
    assert [number for number, _, _ in protobuf.fields(message)] == [1, 2, 3]
    assert b"".join(protobuf.written(*part) for part in protobuf.fields(message)) == message


def test_inputs_are_taken_out_and_nothing_else() -> None:
    before = colors_model()
    after = onnx.ModelProto.FromString(protobuf.without_inputs(before.SerializeToString(), {"style"}, "other"))
    assert [item.name for item in after.graph.input] == ["image"]
    del before.graph.input[:]
    del after.graph.input[:]
    assert after == before


def test_metadata_are_taken_out_by_their_key() -> None:
    data = protobuf.without_inputs(colors_model().SerializeToString(), set(), "impasto")
    assert not onnx.ModelProto.FromString(data).metadata_props


def constants() -> onnx.ModelProto:
    """A model of two constants, a matrix in float16 and a number."""
    tensors = [numpy_helper.from_array(np.arange(6, dtype=np.float16).reshape(2, 3), "matrix")]
    tensors.append(numpy_helper.from_array(np.array(7, np.int64), "number"))
    return helper.make_model(helper.make_graph([], "constants", [], [], tensors))


def test_constants_of_another_model_follow_by_other_names() -> None:
    """In every part of it: what follows a model is read too."""
    other = constants().SerializeToString() + protobuf.model(
        inputs={}, constants={"late": np.ones((1, 2), np.float32)}, properties={}
    )
    names = {"grüne Matrix": "matrix", "matrix": "number", "late": "late"}
    data = colors_model().SerializeToString() + protobuf.constants_of(other, names)
    made, whole = onnx.ModelProto.FromString(data), onnx.ModelProto.FromString(other).graph.initializer
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    expected = {tensor.name: numpy_helper.to_array(tensor) for tensor in whole}
    for name, there in names.items():
        assert found[name].dtype == expected[there].dtype
        np.testing.assert_array_equal(found[name], expected[there])
    assert len(found) == len(names) + len(colors_model().graph.initializer)
    with pytest.raises(KeyError, match="nowhere"):
        protobuf.constants_of(other, {"matrix": "nowhere"})


def test_what_follows_a_model_is_part_of_it() -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = colors_model().SerializeToString() + protobuf.model(
        inputs={"more": (2, 300)}, constants={"table 2": table}, properties={"über": "ja"}
    )
    model = onnx.ModelProto.FromString(data)
    assert model.graph.input[-1] == helper.make_tensor_value_info("more", TensorProto.FLOAT, (2, 300))
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[-1]), table)
    assert (model.graph.initializer[-1].name, model.metadata_props[-1].key) == ("table 2", "über")
    assert len(model.graph.node) == len(colors_model().graph.node)

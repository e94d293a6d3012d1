"""What a network holds in memory at once, counted on graphs of a few operations."""

import numpy as np
import openvino

from impasto.graphs import opset
from impasto.needs import most_held

SIZE = 3 * 8 * 8


def image() -> openvino.Node:
    node = opset().parameter([1, 3, 8, 8], np.float32, name="image")
    node.set_friendly_name("image")
    return node


def held(picture: openvino.Node, result: openvino.Node) -> float:
    return most_held(openvino.Model([opset().result(result)], [picture], "graph"))


def test_what_works_at_a_place_writes_over_its_input_but_not_over_the_picture() -> None:
    ops, picture = opset(), image()
    doubled = ops.multiply(picture, np.float32(2))
    assert held(picture, doubled) == 2 * SIZE
    assert held(picture, ops.relu(ops.relu(ops.relu(doubled)))) == 2 * SIZE


def test_what_is_needed_later_is_held() -> None:
    ops, picture = opset(), image()
    doubled = ops.multiply(picture, np.float32(2))
    positive = ops.relu(doubled)
    assert held(picture, ops.add(positive, picture)) == 2 * SIZE
    assert held(picture, ops.add(ops.add(positive, doubled), picture)) == 3 * SIZE


def test_what_moves_values_has_memory_of_its_own() -> None:
    ops, picture = opset(), image()
    doubled = ops.multiply(picture, np.float32(2))
    turned = ops.transpose(doubled, np.array([0, 1, 3, 2]))
    assert held(picture, turned) == 2 * SIZE  # the picture is not needed any more
    wide = ops.concat([doubled, turned], axis=1)
    assert held(picture, wide) == 4 * SIZE


def test_products_copy_what_they_are_made_of() -> None:
    ops, picture = opset(), image()
    flat = ops.reshape(picture, np.array([1, 3, 64]), special_zero=False)
    product = ops.matmul(np.ones((3, 3), np.float32), flat, False, False)
    # The picture, in another shape, and the product; each a second time for its arithmetic; constants are the style's.
    assert held(picture, product) == 4 * SIZE

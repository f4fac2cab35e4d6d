"""Sums of products by Einstein's notation, composed of transpositions and matrix products.

Source: tensorflow/python/ops/special_math_ops.py (1.15).
"""

from __future__ import annotations

import re
import string
from typing import Any

import kvarn.ops.array as array_ops
import kvarn.ops.linalg as linalg
import kvarn.ops.math as math_ops
import kvarn.ops.reduction as reduction_ops
from kvarn.graph.convert import convert_to_tensor
from kvarn.graph.graph import name_scope
from kvarn.graph.tensor import Tensor


def einsum(equation: str, *inputs: Any, name: str | None = None) -> Tensor:
    """The sum of products that an equation such as ``"ij,jk->ik"`` describes.

    Args:
      equation: a letter for each dimension of each input, and of the result; ``...`` stands for dimensions
        that all have. Without ``->``, the result has the letters that occur once, in alphabetical order.
      inputs: tensors of known rank.

    Raises:
      ValueError: the equation is malformed, does not fit the inputs, or names a dimension twice in one input.
    """
    with name_scope(name, "einsum", [equation, inputs]):
        tensors = [convert_to_tensor(x) for x in inputs]
        labels, result = _resolved(equation, [x.static_shape for x in tensors])
        for own in labels:
            repeated = next((a for a in own if own.count(a) > 1), None)
            if repeated is None:
                continue
            if len(labels) == 1 and own.count(repeated) == 2 and own == own[::-1] and "->" not in equation:
                return linalg.trace(tensors[0])
            raise ValueError(f"Subscript not supported: an axis appears more than once: {own}")
        for a in sorted({*"".join(labels), *result}):
            if sum(a in own for own in labels) > 2 and a not in result:
                return _expanded(tensors, labels, result)
        whole, whole_labels = tensors[0], labels[0]
        for other, other_labels in zip(tensors[1:], labels[1:], strict=True):
            summed = (set(whole_labels) & set(other_labels)) - set(result)
            whole, whole_labels = _combined(whole, whole_labels, other, other_labels, summed)
        gone = [i for i, a in enumerate(whole_labels) if a not in result]
        if gone:
            whole = reduction_ops.reduce_sum(whole, axis=gone)
            whole_labels = "".join(a for a in whole_labels if a in result)
        if sorted(whole_labels) != sorted(result):
            raise ValueError(f"Invalid equation: {equation}")
        return _transposed(whole, [whole_labels.index(a) for a in result])


def _resolved(equation: str, shapes: list[Any]) -> tuple[list[str], str]:
    """The letters of each input, and of the result, with ellipses written out."""
    match = re.match(r"^([a-zA-Z,.]+)(->[a-zA-Z.]*)?$", equation.replace(" ", ""))
    if match is None:
        raise ValueError(f"Indices have incorrect format: {equation}")
    labels = match[1].split(",")
    result = match[2][2:] if match[2] else None
    if len(shapes) != len(labels):
        raise ValueError(f'Got {len(shapes)} arguments for equation "{equation}", expecting {len(labels)}')
    unused = "".join(c for c in string.ascii_letters if c not in "".join(labels))
    ellipsis = ""
    for i, own in enumerate(labels):
        if "..." not in own:
            continue
        parts = own.split("...")
        if len(parts) != 2:
            raise ValueError("Unable to resolve ellipsis. Excess number found.")
        if shapes[i] is None:
            raise ValueError("Unable to statically infer ellipsis axes.")
        count = len(shapes[i]) - len("".join(parts))
        if count < 0:
            raise ValueError("Ellipses lengths do not match.")
        if len(unused) < count:
            raise ValueError("Unable to resolve ellipsis, too many distinct labels.")
        letters = unused[-count:] if count else ""
        labels[i] = own.replace("...", letters)
        ellipsis = max(ellipsis, letters, key=len)
    if result is None:
        everything = "".join(labels)
        once = sorted(a for a in set(everything) - set(ellipsis) if everything.count(a) == 1)
        result = ellipsis + "".join(once)
    result = result.replace("...", ellipsis)
    if any("." in own for own in (*labels, result)):
        raise ValueError('period "." found outside of ellipsis')
    return labels, result


def _combined(t0: Tensor, labels0: str, t1: Tensor, labels1: str, summed: set[str]) -> tuple[Tensor, str]:
    """The product of two tensors, summed over the dimensions `summed`, and the letters of its dimensions.

    Both are brought into the order (common, own, summed) and (common, summed, own), so that a batched matrix
    product does the rest.
    """
    for i, (t, labels) in enumerate(((t0, labels0), (t1, labels1))):
        shape = t.static_shape
        if shape is None or len(labels) != len(shape):
            raise ValueError(
                f"Tensor t{i} of rank {None if shape is None else len(shape)} does not match einsum "
                f"reduction of "
                f"length {len(labels)}"
            )
    common = (set(labels0) & set(labels1)) - summed
    own0 = set(labels0) - common - summed
    own1 = set(labels1) - common - summed

    def order(letters: str, first: set[str]) -> str:
        return "".join(sorted(letters, key=lambda a: (-1 if a in common else 0 if a in first else 1, a)))

    order0, order1 = order(labels0, own0), order(labels1, summed)
    t0 = _transposed(t0, [labels0.find(a) for a in order0])
    t1 = _transposed(t1, [labels1.find(a) for a in order1])
    n = len(common)
    if not summed:
        for _ in own1:
            t0 = array_ops.expand_dims(t0, -1)
        for _ in own0:
            t1 = array_ops.expand_dims(t1, n)
        return math_ops.multiply(t0, t1), order0 + order1[n:]
    shape0 = _sizes(t0)
    summed_size = _total(shape0[-len(summed) :])
    size0 = _total(shape0[n : -len(summed)])
    t0 = _reshaped(t0, [*shape0[:n], size0, summed_size])
    shape1 = _sizes(t1)
    size1 = _total(shape1[n + len(summed) :])
    t1 = _reshaped(t1, [*shape1[:n], summed_size, size1])
    product = linalg.matmul(t0, t1)
    kept1 = len(order1) - len(own1)
    product = _reshaped(product, [*shape0[: n + len(own0)], *shape1[kept1:]])
    return product, order0[: n + len(own0)] + order1[kept1:]


def _transposed(tensor: Tensor, perm: list[int]) -> Tensor:
    if perm == list(range(len(perm))):
        return tensor
    found: Tensor = array_ops.transpose(tensor, perm=perm)
    return found


def _sizes(tensor: Tensor) -> list[Any]:
    """The dimensions, known ones as numbers and others as tensors."""
    sizes: list[Any] = list(tensor.static_shape or ())
    if None in sizes:
        shape = array_ops.shape(tensor)
        sizes = [shape[i] if d is None else d for i, d in enumerate(sizes)]
    return sizes


def _total(sizes: list[Any]) -> Any:
    total: Any = 1
    for size in sizes:
        total *= size
    return total


def _reshaped(tensor: Tensor, sizes: list[Any]) -> Tensor:
    current = tensor.static_shape or ()
    same = len(sizes) == len(current) and all(
        not isinstance(b, Tensor) and a == b for a, b in zip(current, sizes, strict=True)
    )
    if same:
        return tensor
    found: Tensor = array_ops.reshape(tensor, tuple(sizes))
    return found


def _expanded(tensors: list[Tensor], labels: list[str], result: str) -> Tensor:
    """The sum of the product of all inputs broadcast to all dimensions: where three or more share one."""
    summed = sorted({*"".join(labels)} - {*result})
    letters = [*summed, *result]
    product: Any = 1
    wide = []
    for tensor, own in zip(tensors, labels, strict=True):
        order = sorted(own, key=letters.index)
        if list(own) != order:
            tensor = array_ops.transpose(tensor, [own.find(a) for a in order])
        sizes = iter(-1 if d is None else d for d in tensor.static_shape or ())
        wide.append((tensor, [next(sizes) if a in own else 1 for a in letters]))
    for tensor in [array_ops.reshape(t, s) for t, s in wide]:
        product *= tensor
    found: Tensor = reduction_ops.reduce_sum(product, list(range(len(summed))))
    return found

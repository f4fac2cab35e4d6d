"""The order in which TensorFlow's V1 save op takes its tensors.

By name, and equal names as its sort leaves them.  The meta record lists the slices of a tensor in that
order, so it shows in the bytes.  The op sorts an array of positions with std::sort, which is not stable: up
to 16 tensors it is an insertion sort and keeps the order of equal names, above that it is not.  `save_order`
takes the same steps as the sort of libstdc++, with which TensorFlow's releases for Linux are built:

    introsort   while a range has more than 16: the median of its second, middle and last goes to its front
                as the pivot; partition; sort the right part the same way, go on with the left
    heapsort    of a range that has been split 2 log2(n) times
    insertion   over everything at the end

Source: `SaveTensors` in tensorflow/core/kernels/save_restore_tensor.cc; the C++ standard library.
"""

from __future__ import annotations

from collections.abc import Sequence

_THRESHOLD = 16


def save_order(names: Sequence[bytes]) -> list[int]:
    """The positions of ``names`` in the order in which the tensors are saved."""
    order = list(range(len(names)))
    if len(set(names)) == len(names):
        return sorted(order, key=names.__getitem__)
    _introsort(order, names)
    _insertion_sort(order, names)
    return order


def _introsort(order: list[int], names: Sequence[bytes]) -> None:
    ranges = [(0, len(order), 2 * (len(order).bit_length() - 1))]
    while ranges:
        first, last, depth = ranges.pop()
        while last - first > _THRESHOLD:
            if depth == 0:
                _heapsort(order, names, first, last)
                break
            depth -= 1
            cut = _partition(order, names, first, last)
            # Ranges do not touch each other: it is all the same which of the two comes first.
            ranges.append((cut, last, depth))
            last = cut


def _partition(order: list[int], names: Sequence[bytes], first: int, last: int) -> int:
    a, b, c = first + 1, first + (last - first) // 2, last - 1
    key_a, key_b, key_c = names[order[a]], names[order[b]], names[order[c]]
    if key_a < key_b:
        median = b if key_b < key_c else c if key_a < key_c else a
    else:
        median = a if key_a < key_c else c if key_b < key_c else b
    order[first], order[median] = order[median], order[first]
    pivot = names[order[first]]
    low, high = first + 1, last
    while True:
        while names[order[low]] < pivot:
            low += 1
        high -= 1
        while pivot < names[order[high]]:
            high -= 1
        if low >= high:
            return low
        order[low], order[high] = order[high], order[low]
        low += 1


def _heapsort(order: list[int], names: Sequence[bytes], first: int, last: int) -> None:
    part = order[first:last]
    for root in range(len(part) // 2 - 1, -1, -1):
        _sift(part, names, root, len(part), part[root])
    for end in range(len(part) - 1, 0, -1):
        value, part[end] = part[end], part[0]
        _sift(part, names, 0, end, value)
    order[first:last] = part


def _sift(heap: list[int], names: Sequence[bytes], hole: int, size: int, value: int) -> None:
    """Down to a leaf along the greater children, then up to where ``value`` belongs."""
    top, child = hole, hole
    while child < (size - 1) // 2:
        child = 2 * (child + 1)
        if names[heap[child]] < names[heap[child - 1]]:
            child -= 1
        heap[hole] = heap[child]
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * child + 1
        heap[hole] = heap[child]
        hole = child
    parent = (hole - 1) // 2
    while hole > top and names[heap[parent]] < names[value]:
        heap[hole] = heap[parent]
        hole = parent
        parent = (hole - 1) // 2
    heap[hole] = value


def _insertion_sort(order: list[int], names: Sequence[bytes]) -> None:
    for at in range(1, len(order)):
        value = order[at]
        key = names[value]
        if at < _THRESHOLD and key < names[order[0]]:
            order[1 : at + 1] = order[:at]
            order[0] = value
            continue
        while key < names[order[at - 1]]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = value

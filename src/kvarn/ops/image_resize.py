"""Images in other sizes: by the nearest element, or by two linear interpolations.

Source: tensorflow/core/kernels/{resize_bilinear_op,resize_nearest_neighbor_op}.cc, image_resizer_state.h,
tensorflow/python/ops/{image_ops_impl,image_grad}.py (1.15).
"""

from __future__ import annotations

from typing import Any

import numpy as np

import kvarn.ops.array as array_ops
from kvarn import errors
from kvarn.graph.op import op
from kvarn.graph.shape_inference import with_rank
from kvarn.graph.tensor import Tensor
from kvarn.graph.tensor_shape import TensorShape
from kvarn.ops._elementwise import dims_text

_WAYS = ["align_corners: bool = false", "half_pixel_centers: bool = false"]


def _resized_shape(c, images, size):
    batch, _, _, channels = with_rank(images, 4)
    (count,) = with_rank(size, 1)
    if count not in (None, 2):
        raise ValueError(f"Dimension must be 2 but is {count}")
    height, width = with_rank(c.constant_shape(1), 2)
    return (batch, height, width, channels)


def _new_size(images, size, problem):
    """The height and width that are asked for; ``problem`` is the error where they are not positive."""
    if images.ndim != 4:
        raise errors.InvalidArgumentError.of(f"input must be 4-dimensional{dims_text(images)}")
    if size.ndim != 1:
        raise errors.InvalidArgumentError.of(f"shape_t must be 1-dimensional{dims_text(size)}")
    if size.size != 2:
        raise errors.InvalidArgumentError.of(f"shape_t must have two elements{dims_text(size)}")
    if size.min() <= 0:
        raise errors.InvalidArgumentError.of(problem)
    return size.tolist()


def _check_centers(attrs):
    if attrs["half_pixel_centers"] and attrs["align_corners"]:
        raise errors.InvalidArgumentError.of("If half_pixel_centers is True, align_corners must be False.")


def _checked_size(attrs, images, size):
    """The height and width that images are to have."""
    _check_centers(attrs)
    found = _new_size(images, size, "output dimensions must be positive")
    if images.shape[3] == 0:
        raise errors.InvalidArgumentError.of("image must have at least one channel")
    if 0 in images.shape[1:3]:
        raise errors.InvalidArgumentError.of("input image must be of non-zero size")
    return found


def _scale(attrs, size, new_size):
    """How far apart the new elements lie in the old ones."""
    if attrs["align_corners"] and new_size > 1:
        return np.float32(size - 1) / np.float32(new_size - 1)
    return np.float32(size) / np.float32(new_size)


def _between(attrs, size, new_size):
    """For each new element the old ones below and above it, and how far it is from the lower one."""
    at = np.arange(new_size, dtype=np.float32)
    scale = _scale(attrs, size, new_size)
    places = (at + np.float32(0.5)) * scale - np.float32(0.5) if attrs["half_pixel_centers"] else at * scale
    floor = np.floor(places)
    lower = np.maximum(floor.astype(np.int64), 0)
    upper = np.minimum(np.ceil(places).astype(np.int64), size - 1)
    return lower, upper, places - floor


def _nearest(attrs, size, new_size):
    """For each new element the nearest old one."""
    at = np.arange(new_size, dtype=np.float32)
    scale = _scale(attrs, size, new_size)
    places = (at + np.float32(0.5)) * scale if attrs["half_pixel_centers"] else at * scale
    if attrs["align_corners"]:  # to the nearest, halves up; in float64, where the sum is exact
        places = places.astype(np.float64) + 0.5
    return np.minimum(np.floor(places).astype(np.int64), size - 1)


def _add_at(images, rows, columns, shares):
    """Adds ``shares`` to the elements of images at `rows` and `columns`, one after the other."""
    places: Any = (slice(None), rows, columns)
    np.add.at(images, places, shares)


@op(
    "ResizeBilinear",
    inputs="images: T, size: int32",
    outputs="resized_images: float",
    attrs=["T: {int8, uint8, int16, uint16, int32, int64, bfloat16, half, float, double}", *_WAYS],
)
class resize_bilinear_:
    """`images` [batch, height, width, channels] in the size [2], each element from its four neighbours."""

    shape = _resized_shape

    def kernel(ctx, images, size):
        height, width = _checked_size(ctx.attrs, images, size)
        x = images.astype(np.float32)
        top, bottom, down = _between(ctx.attrs, x.shape[1], height)
        left, right, across = _between(ctx.attrs, x.shape[2], width)
        across = across[:, None]

        def row(at):
            rows = x[:, at]
            lefts = rows[:, :, left]
            return lefts + (rows[:, :, right] - lefts) * across

        upper = row(top)
        return upper + (row(bottom) - upper) * down[:, None, None]

    def grad(op, d):
        options = {name: op.attrs[name] for name in ("align_corners", "half_pixel_centers")}
        return [resize_bilinear_grad(d, op.inputs[0], **options), None]


@op(
    "ResizeBilinearGrad",
    inputs="grads: float, original_image: T",
    outputs="output: T",
    attrs=["T: {float, bfloat16, half, double}", *_WAYS],
)
class resize_bilinear_grad:
    """The gradient of `ResizeBilinear`: to each of the four neighbours its share."""

    def shape(c, grads, original_image):
        return original_image

    def kernel(ctx, grads, original_image):
        _check_centers(ctx.attrs)
        for what, value in (("input_grad", grads), ("original_image", original_image)):
            if value.ndim != 4:
                raise errors.InvalidArgumentError.of(f"{what} must be 4-dimensional{dims_text(value)}")
        found = np.zeros(original_image.shape, original_image.dtype)
        top, bottom, down = _between(ctx.attrs, found.shape[1], grads.shape[1])
        left, right, across = _between(ctx.attrs, found.shape[2], grads.shape[2])
        # The four corners come last, so that they are added up in TensorFlow's order.
        rows = np.stack([top, top, bottom, bottom], axis=-1)[:, None]
        columns = np.stack([left, right, left, right], axis=-1)
        y = np.stack([1 - down, 1 - down, down, down], axis=-1)[:, None, :, None]
        x = np.stack([1 - across, across, 1 - across, across], axis=-1)[..., None]
        share = grads[:, :, :, None] * y * x
        _add_at(found, rows, columns, share.astype(found.dtype))
        return found


@op(
    "ResizeNearestNeighbor",
    inputs="images: T, size: int32",
    outputs="resized_images: T",
    attrs=["T: {int8, uint8, int16, uint16, int32, int64, half, float, double}", *_WAYS],
)
class resize_nearest_neighbor_:
    """`images` [batch, height, width, channels] in the size [2], each element as the nearest one."""

    shape = _resized_shape

    def kernel(ctx, images, size):
        height, width = _checked_size(ctx.attrs, images, size)
        rows = _nearest(ctx.attrs, images.shape[1], height)
        columns = _nearest(ctx.attrs, images.shape[2], width)
        return images[:, rows[:, None], columns]

    def grad(op, d):
        images = op.inputs[0]
        size = TensorShape(images.shape)[1:3]
        options = {name: op.attrs[name] for name in ("align_corners", "half_pixel_centers")}
        known = size.as_list() if size.is_fully_defined() else array_ops.shape(images)[1:3]
        return [resize_nearest_neighbor_grad(d, known, **options), None]


@op(
    "ResizeNearestNeighborGrad",
    inputs="grads: T, size: int32",
    outputs="output: T",
    attrs=["T: {uint8, int8, int32, half, float, double}", *_WAYS],
)
class resize_nearest_neighbor_grad:
    """The gradient of `ResizeNearestNeighbor`: for each element of an image of the size [2] the sum of its copies."""

    shape = _resized_shape

    def kernel(ctx, grads, size):
        height, width = _new_size(grads, size, "shape_t's elements must be positive")
        rows = _nearest(ctx.attrs, height, grads.shape[1])
        columns = _nearest(ctx.attrs, width, grads.shape[2])
        found = np.zeros((grads.shape[0], height, width, grads.shape[3]), grads.dtype)
        _add_at(found, rows[:, None], columns, grads)
        return found


def resize_bilinear(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """`images` in another size, as float32, by linear interpolation in both dimensions.

    Args:
      images: [batch, height, width, channels].
      size: int32 [2], the new height and width.
      align_corners: whether the elements in the corners stay where they are.
      half_pixel_centers: whether elements lie at 0.5, 1.5, …; not with ``align_corners``.
    """
    options = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    found: Tensor = resize_bilinear_(images, size, name=name, **options)
    return found


def resize_nearest_neighbor(
    images: Any,
    size: Any,
    align_corners: bool = False,
    name: str | None = None,
    half_pixel_centers: bool = False,
) -> Tensor:
    """`images` in another size, each element as the nearest one; arguments as `resize_bilinear` takes them."""
    options = {"align_corners": align_corners, "half_pixel_centers": half_pixel_centers}
    found: Tensor = resize_nearest_neighbor_(images, size, name=name, **options)
    return found

"""npz: a zip archive of NumPy arrays, one member a tensor.

    dnn/w.npy           the tensor dnn/w as `numpy.save` writes it; stored, not compressed
    __kvarn__.json      what the arrays cannot tell, only if there is something to tell:
                        {"types": {"b": "bfloat16"}, "trailing_nuls": {"s": {"3": 2}}}

`numpy.load` reads these files without pickle.  What NumPy lacks stands in for its nearest kin, and the note
restores it to the bit:

    bfloat16             uint16, the raw bits        float8…        uint8, the raw bits
    int4, uint4          int8, uint8                 qint8, …       the integers of that width
    strings              bytes of equal width (S5); the note has the NULs at the end of a string, by element,
                         which NumPy drops

There are no variants, and no names with a NUL or that are not UTF-8.

Read is what `numpy.savez` and `numpy.savez_compressed` write, without pickled objects.  Texts become UTF-8.
A member may grow to 1,100 times the bytes it takes (deflate's own limit is 1,032), and members may not
overlap: that bounds what a hostile file can cost.

Source: numpy/lib/_npyio_impl.py, numpy/lib/_format_impl.py; the zip application note 6.3.
"""

from __future__ import annotations

import numpy as np

from kvarn import dtypes

SUFFIX = ".npy"
NOTES = "__kvarn__.json"
TYPES = "types"
TRAILING_NULS = "trailing_nuls"
LARGEST_RATIO = 1100

# How the types lie that NumPy itself lacks.
STAND_INS: dict[dtypes.DType, np.dtype[np.generic]] = {
    dtypes.bfloat16: np.dtype(np.uint16),
    dtypes.float8_e5m2: np.dtype(np.uint8),
    dtypes.float8_e4m3fn: np.dtype(np.uint8),
    dtypes.float8_e4m3fnuz: np.dtype(np.uint8),
    dtypes.float8_e4m3b11fnuz: np.dtype(np.uint8),
    dtypes.float8_e5m2fnuz: np.dtype(np.uint8),
    dtypes.int4: np.dtype(np.int8),
    dtypes.uint4: np.dtype(np.uint8),
    dtypes.qint8: np.dtype(np.int8),
    dtypes.quint8: np.dtype(np.uint8),
    dtypes.qint16: np.dtype(np.int16),
    dtypes.quint16: np.dtype(np.uint16),
    dtypes.qint32: np.dtype(np.int32),
}
# Of these the bits stand in, of the others the values.
BY_BITS = frozenset(dtype for dtype in STAND_INS if dtype.is_floating)

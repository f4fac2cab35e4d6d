"""safetensors: a JSON header, then the bytes of the tensors.

    8 bytes    length of the header, little-endian; at most 100,000,000
    header     {"__metadata__": {"key": "text"}, "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
               UTF-8, filled up with spaces to a multiple of 8
    data       row-major, little-endian; offsets count from here, without gap or overlap, to the end of the file

Written are exactly the bytes that the package `safetensors` writes for the same tensors: sorted by type,
the widest first, then by name.  A reader demands what that package demands; what it does not look at, such as
two tensors of one name, is refused here too.

Types: bool, the integers of 8 to 64 bits, float16, bfloat16, float32, float64, complex64 (since safetensors
0.7), float8_e4m3fn, float8_e5m2, and the fnuz ones.  There are no strings, variants, quantised types,
complex128, int4, and no names that are not UTF-8.

Source: https://github.com/huggingface/safetensors (README.md, safetensors/src/tensor.rs).
"""

from __future__ import annotations

from kvarn import dtypes

LENGTH_BYTES = 8
LARGEST_HEADER_BYTES = 100_000_000
ALIGNMENT = 8
METADATA = "__metadata__"

# In the order of the format's own enumeration, which is that of the data from its end.
NAMES: dict[dtypes.DType, str] = {
    dtypes.bool: "BOOL",
    dtypes.uint8: "U8",
    dtypes.int8: "I8",
    dtypes.float8_e5m2: "F8_E5M2",
    dtypes.float8_e4m3fn: "F8_E4M3",
    dtypes.float8_e4m3fnuz: "F8_E4M3FNUZ",
    dtypes.float8_e5m2fnuz: "F8_E5M2FNUZ",
    dtypes.int16: "I16",
    dtypes.uint16: "U16",
    dtypes.float16: "F16",
    dtypes.bfloat16: "BF16",
    dtypes.int32: "I32",
    dtypes.uint32: "U32",
    dtypes.float32: "F32",
    dtypes.complex64: "C64",
    dtypes.float64: "F64",
    dtypes.int64: "I64",
    dtypes.uint64: "U64",
}
RANKS = {dtype: rank for rank, dtype in enumerate(NAMES)}
DTYPES = {name: dtype for dtype, name in NAMES.items()}

"""The reference types of `tensorflow.python.framework.dtypes`: those of outputs that are variables' buffers."""

from __future__ import annotations

from kvarn import dtypes

bfloat16_ref = dtypes.bfloat16._as_ref
bool_ref = dtypes.bool._as_ref
complex128_ref = dtypes.complex128._as_ref
complex64_ref = dtypes.complex64._as_ref
float16_ref = half_ref = dtypes.float16._as_ref
float32_ref = dtypes.float32._as_ref
float64_ref = double_ref = dtypes.float64._as_ref
int16_ref = dtypes.int16._as_ref
int32_ref = dtypes.int32._as_ref
int64_ref = dtypes.int64._as_ref
int8_ref = dtypes.int8._as_ref
resource_ref = dtypes.resource._as_ref
string_ref = dtypes.string._as_ref
uint16_ref = dtypes.uint16._as_ref
uint32_ref = dtypes.uint32._as_ref
uint64_ref = dtypes.uint64._as_ref
uint8_ref = dtypes.uint8._as_ref
variant_ref = dtypes.variant._as_ref

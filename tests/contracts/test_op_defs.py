"""Every op that kvarn declares is, field by field, the op that TensorFlow 1.15.5 registers."""

import gzip
from pathlib import Path

import pytest

from kvarn import protos
from kvarn.graph import registry

GOLDEN = Path(__file__).parents[1] / "golden" / "op_defs" / "tensorflow_1.15.5.pbtxt.gz"

# DeepRec's own, which TensorFlow does not have.
DEEPREC_ONLY = frozenset(
    (
        "ActivateSparseRecorder", "CollectSparseIndices", "IncrRestore", "IncrSave", "KvResourceIncrImport",
        "RecordSparseIndices", "DestroyKvResourceOp", "EVGetFrequency", "EVGetVersion", "GroupEmbeddingVarLookup",
        "GroupEmbeddingVarLookupDense", "GroupEmbeddingVariableLookupGrad", "GroupVariableLookup",
        "GroupVariableLookupDense", "GroupVariableLookupGrad", "InitializeKvVariableOp",
        "InitializeKvVariableV2Op", "KvResourceExport", "KvResourceGather", "KvResourceGatherV1",
        "KvResourceImport", "KvResourceImportV2", "KvResourceImportV3", "KvResourceInitCacheStrategyOp",
        "KvResourceLookupResource", "KvResourceLookupTier",
        "KvVarHandleOp",
        "KvVarIsInitializedOp", "KvVariableShape", "SaveV3",
    )
) | {
    f"KvResourceSparseApply{rule}{suffix}"
    for rule in (
        "GradientDescent", "Adagrad", "AdagradDecay", "Adam", "AdamAsync", "AdamW", "Ftrl", "FtrlV2", "Momentum",
        "RMSProp", "CenteredRMSProp",
    )
    for suffix in ("", "WithCounts")
} | {
    f"{kind}Apply{rule}"
    for kind in ("", "Resource", "Sparse", "ResourceSparse")
    for rule in ("AdagradDecay", "AdamAsync")
}  # fmt: skip

# Ops of TensorFlow that DeepRec gave more attributes, all with defaults: (op, attributes).
EXTENDED: dict[str, tuple[str, ...]] = {"SaveV2": ("ev_key_types", "has_ev")}


@pytest.fixture(scope="module")
def tensorflow_ops():
    from google.protobuf import text_format

    ops = protos.OpList()
    text_format.Parse(gzip.decompress(GOLDEN.read_bytes()).decode(), ops)
    return {op.name: op for op in ops.op}


def _declared():
    return {o.name: o.to_proto() for o in registry.global_registry.get_registered_ops()}


def test_the_recording_is_whole(tensorflow_ops):
    assert len(tensorflow_ops) == 1393


def test_declared_ops_are_tensorflow_ops(tensorflow_ops):
    declared = _declared()
    different = {}
    for name, own in declared.items():
        if name in DEEPREC_ONLY:
            continue
        theirs = tensorflow_ops.get(name)
        if theirs is None:
            different[name] = "TensorFlow has no such op"
            continue
        if name in EXTENDED:
            extra = [a for a in own.attr if a.name in EXTENDED[name]]
            assert all(a.HasField("default_value") for a in extra)
            for a in extra:
                own.attr.remove(a)
        if own != theirs:
            different[name] = f"declared\n{own}\nTensorFlow has\n{theirs}"
    assert not different, "\n".join(f"{k}: {v}" for k, v in different.items())
    assert len(declared) > 300


def test_deeprec_ops_are_not_tensorflow_ops(tensorflow_ops):
    assert not DEEPREC_ONLY & set(tensorflow_ops)

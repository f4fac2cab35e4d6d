"""What the attributes of an embedding variable's initializing op ask of its table.

Attributes of DeepRec's op by their own names; what DeepRec does not have, in attributes whose names begin with "_",
which may stand on any node, so that a graph still loads elsewhere.

Source: tensorflow/core/framework/embedding/embedding_config.h and tensorflow/core/kernels/kv_variable_ops.cc of
DeepRec.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kvarn import dtypes, errors
from kvarn.engine.options import CombinedEvict
from kvarn.engine.policies import (
    Admission,
    BloomAdmission,
    CounterAdmission,
    EvictionPolicy,
    SeededRows,
    TieredStorage,
)
from kvarn.ops import kv_storage

if TYPE_CHECKING:
    from kvarn.engine.table import EmbeddingTable

# Of a `CombinedEvict`: what DeepRec's two attributes of eviction do not say.
_MIN_FREQUENCY: Final = "_kvarn_min_frequency"
_REQUIRE: Final = "_kvarn_require"
_MIN_KEYS: Final = "_kvarn_min_keys"
_MAX_KEYS: Final = "_kvarn_max_keys"
_NO_CEILING: Final = -1
# Of rows by seed.
_SEED: Final = "_kvarn_row_seed"
_DISTRIBUTION: Final = "_kvarn_row_distribution"
_NUMBERS: Final = "_kvarn_row_numbers"
# Of rows that come from a checkpoint when the initializer runs.
INITIAL_CHECKPOINT: Final = "_kvarn_initial_checkpoint"
INITIAL_NAME: Final = "_kvarn_initial_name"
INITIAL_PARTITION: Final = "_kvarn_initial_partition"

# On a slot: what its primary's filter lets be read, should the slot be made first.
_NO_PERMISSION: Final = "_kvarn_primary_no_permission"

OWN_ATTRS: Final = (
    _NO_PERMISSION,
    _MIN_FREQUENCY,
    _REQUIRE,
    _MIN_KEYS,
    _MAX_KEYS,
    _SEED,
    _DISTRIBUTION,
    _NUMBERS,
    INITIAL_CHECKPOINT,
    INITIAL_NAME,
    INITIAL_PARTITION,
    kv_storage.CACHE_STRATEGY,
)
_EVICTION_ATTRS: Final = (_MIN_FREQUENCY, _REQUIRE, _MIN_KEYS, _MAX_KEYS)


@dataclass(frozen=True)
class TableOptions:
    """How a primary and its slots are kept.

    Attributes:
      admission, eviction, storage: None for none.
      no_permission: what every element of the primary reads as where the filter has not admitted a key.
      record_freq, record_version: what the table keeps of each key.
      is_save_freq, is_save_version: what checkpoints get of it.
    """

    admission: Admission | None = None
    no_permission: float = 0.0
    eviction: EvictionPolicy | None = None
    record_freq: bool = False
    record_version: bool = False
    storage: TieredStorage | None = None

    @property
    def is_save_freq(self) -> bool:
        return self.record_freq or self.admission is not None

    @property
    def is_save_version(self) -> bool:
        return self.record_version

    @staticmethod
    def of(name: str, attrs: Mapping[str, Any]) -> TableOptions:
        """What ``attrs`` ask of the table of embedding variable ``name``.

        Raises:
          InvalidArgumentError: values that can never work, or not together.
          UnimplementedError: what this version does not have.
        """
        check_options(name, attrs)
        eviction = _eviction_of(attrs)
        bounded = eviction is not None and (eviction.min_keys > 0 or eviction.max_keys is not None)
        tiers = kv_storage.records_all(attrs)
        return TableOptions(
            admission=_admission_of(attrs),
            no_permission=attrs.get(_NO_PERMISSION, attrs.get("default_value_no_permission", 0.0)),
            eviction=eviction,
            # What the eviction goes by is recorded for it; bounds go by all there is.
            record_freq=attrs.get("record_freq", False)
            or tiers
            or bounded
            or (eviction is not None and eviction.by_frequency),
            record_version=attrs.get("record_version", False)
            or tiers
            or bounded
            or attrs.get("steps_to_live", 0) != 0,
            storage=kv_storage.storage_of(name, attrs),
        )


def needs_counts(attrs: Mapping[str, Any]) -> bool:
    """Whether ``attrs`` make a table whose updates must say how often each id occurs."""
    return bool(
        attrs.get("record_freq", False)
        or attrs.get("filter_freq", 0) > 0
        or attrs.get(_MIN_FREQUENCY, 0) > 0
        or attrs.get(_MIN_KEYS, 0) > 0
        or attrs.get(_MAX_KEYS, _NO_CEILING) >= 0
    )


def _eviction_of(attrs: Mapping[str, Any]) -> EvictionPolicy | None:
    steps_to_live = attrs.get("steps_to_live", 0)
    threshold = attrs.get("l2_weight_threshold", -1.0)
    if _REQUIRE in attrs:
        ceiling = attrs[_MAX_KEYS]
        return EvictionPolicy(
            steps_to_live,
            threshold,
            attrs[_MIN_FREQUENCY],
            _text(attrs[_REQUIRE]),
            attrs[_MIN_KEYS],
            None if ceiling == _NO_CEILING else ceiling,
        )
    # DeepRec does one of the two only, and age first.
    if steps_to_live != 0:
        return EvictionPolicy(steps_to_live=steps_to_live)
    if threshold != -1.0:
        return EvictionPolicy(l2_weight_threshold=threshold)
    return None


def _text(value: Any) -> Any:
    """A string attribute, which is bytes when the graph comes from a file."""
    return value.decode() if isinstance(value, bytes) else value


def _admission_of(attrs: Mapping[str, Any]) -> Admission | None:
    filter_freq = attrs.get("filter_freq", 0)
    if filter_freq <= 0:
        return None
    # The attribute is a float of 32 bits when it comes from a file.
    probability = float(np.float32(attrs.get("false_positive_probability", -1.0)))
    elements = attrs.get("max_element_size", 0)
    # A filter that may be wrong all the time has no hash functions: DeepRec counts exactly then.
    if elements == 0 or probability in (-1.0, 1.0):
        return CounterAdmission(filter_freq)
    counter_type = attrs.get("counter_type", dtypes.uint64)
    size = counter_type.size if counter_type in _COUNTER_TYPES else 8
    return BloomAdmission(filter_freq, elements, probability, size)


_COUNTER_TYPES: Final = (dtypes.uint8, dtypes.uint16, dtypes.uint32, dtypes.uint64)


def eviction_attrs(evict: CombinedEvict) -> dict[str, Any]:
    """The attributes that an eviction beyond DeepRec's travels as."""
    policy = evict.policy
    return {
        _MIN_FREQUENCY: policy.min_frequency,
        _REQUIRE: policy.require,
        _MIN_KEYS: policy.min_keys,
        _MAX_KEYS: _NO_CEILING if policy.max_keys is None else policy.max_keys,
    }


def seed_attrs(rows: SeededRows) -> dict[str, Any]:
    """The attributes that rows by seed travel as."""
    return {_SEED: rows.seed, _DISTRIBUTION: rows.distribution, _NUMBERS: [rows.a, rows.b]}


def seeded_rows(attrs: Mapping[str, Any]) -> SeededRows | None:
    """The rows that ``attrs`` have new keys start from, if not those of a matrix."""
    if _SEED not in attrs:
        return None
    a, b = (float(np.float32(x)) for x in attrs[_NUMBERS])
    return SeededRows(attrs[_SEED], _text(attrs[_DISTRIBUTION]), a, b)


def inherited_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Of a primary's attributes, those beyond DeepRec's that its slots have."""
    inherited = {name: attrs[name] for name in (*_EVICTION_ATTRS, kv_storage.CACHE_STRATEGY) if name in attrs}
    if attrs["default_value_no_permission"] != 0.0:
        inherited[_NO_PERMISSION] = attrs["default_value_no_permission"]
    return inherited


# -- what cannot be ---------------------------------------------------------------------------------


def check_options(name: str, attrs: Mapping[str, Any]) -> None:
    """Refuses what this version cannot honour, so that no option is ignored in silence.

    Args:
      attrs: engine attributes by the names that the initializing ops give them.

    Raises:
      UnimplementedError: names the option.
      InvalidArgumentError: a value that can never work, or options that cannot go together.
    """
    steps_to_live = attrs.get("steps_to_live", 0)
    if steps_to_live < 0:
        raise errors.InvalidArgumentError.of(
            f"steps_to_live must be >= 0, but embedding variable '{name}' has {steps_to_live}.",
            name=name,
            hint="Give GlobalStepEvict a number of steps, or leave it out.",
        )
    kv_storage.storage_of(name, attrs)
    admission = _of_variable(name, _admission_of, attrs)
    eviction = _of_variable(name, _eviction_of, attrs)
    if attrs.get("block_num", 1) > 1:
        # A key's first block is as young as the youngest, so age does not leave others behind.
        only_by_age = eviction is None or not (
            eviction.by_norm or eviction.by_frequency or eviction.max_keys is not None
        )
        for option, present in (
            ("filter_option", admission is not None),
            ("evict_option (other than GlobalStepEvict)", not only_by_age),
            ("row_seed", _SEED in attrs),
        ):
            if present:
                raise errors.InvalidArgumentError.of(
                    f"Embedding variable '{name}' is a block of a variable of dynamic dimension, and asks for "
                    f"{option}, which blocks do not have: each holds some keys only, and would decide for itself.",
                    name=name,
                    hint="Use get_embedding_variable, or leave the option out.",
                )


def _of_variable(name: str, make: Any, attrs: Mapping[str, Any]) -> Any:
    """``make(attrs)``, with the variable's name in its error."""
    try:
        return make(attrs)
    except errors.InvalidArgumentError as error:
        raise errors.InvalidArgumentError.of(
            f"Embedding variable '{name}': {error.message}", name=name
        ) from error


def table_class() -> type[EmbeddingTable]:
    """The engine that the environment variable ``KVARN_ENGINE`` names: the native one, or its NumPy reference."""
    engine = os.environ.get("KVARN_ENGINE", "native")
    if engine == "native":
        from kvarn.engine.table import EmbeddingTable

        return EmbeddingTable
    if engine == "reference":
        from kvarn.engine.reference import ReferenceEmbeddingTable

        reference: Any = ReferenceEmbeddingTable
        return reference  # type: ignore[no-any-return]
    raise errors.InvalidArgumentError.of(
        f"The environment variable KVARN_ENGINE is '{engine}'; it can be 'native' or 'reference'.",
        name="KVARN_ENGINE",
        hint="Unset it for the default, the native engine.",
    )

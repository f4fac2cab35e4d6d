"""`tf.data.Options`: how a dataset is run.

Source: tensorflow/python/data/util/options.py, tensorflow/python/data/ops/dataset_ops.py, tensorflow/python/data/
experimental/ops/{distribute,optimization,stats,threading}_options.py (1.15).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OptionsBase:
    """Options by name, each of a type; there are no others than those that the class declares."""

    _options: dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(self, "_options", {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        names = {*self._options, *other._options}
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self, name):
            raise AttributeError(f"Cannot set the property {name} on {type(self).__name__}.")
        object.__setattr__(self, name, value)


def create_option(
    name: str, ty: Any, docstring: str, default_factory: Callable[[], Any] = lambda: None
) -> Any:
    """A property of options.

    Args:
      ty: type, or tuple of types; TypeError for values of others.
      default_factory: makes the value that counts if none is set.
    """

    def get(option: OptionsBase) -> Any:
        if name not in option._options:
            option._options[name] = default_factory()
        return option._options[name]

    def set_(option: OptionsBase, value: Any) -> None:
        if not isinstance(value, ty):
            raise TypeError(f'Property "{name}" must be of type {ty}, got: {value!r} (type: {type(value)!r})')
        option._options[name] = value

    return property(get, set_, None, docstring)


def merge_options(*options_list: Any) -> Any:
    """Options in which all that is set in one of them is set.

    Raises:
      ValueError: one thing is set to several values; there are no options.
      TypeError: they are of different classes.
    """
    if not options_list:
        raise ValueError("At least one options should be provided")
    kind = type(options_list[0])
    for options in options_list:
        if not isinstance(options, kind):
            raise TypeError(f"Incompatible options type: {type(options)!r} vs {kind!r}")
    if not isinstance(options_list[0], OptionsBase):
        raise TypeError("The inputs should inherit from `OptionsBase`")
    defaults, merged = kind(), kind()
    for options in options_list:
        for name in options._options:
            this, that, default = (getattr(o, name) for o in (merged, options, defaults))
            if that == default:
                continue
            if this == default:
                setattr(merged, name, that)
            elif isinstance(this, OptionsBase):
                setattr(merged, name, merge_options(this, that))
            elif this != that:
                raise ValueError(
                    f"Cannot merge incompatible values ({this!r} and {that!r}) of option: {name}"
                )
    return merged


class MapVectorizationOptions(OptionsBase):
    """Whether functions of elements become functions of batches; it changes no element."""

    enabled = create_option("enabled", bool, "Whether they do.")
    use_choose_fastest = create_option("use_choose_fastest", bool, "Whether the faster form is found out.")

    def _static_optimizations(self) -> list[str]:
        return ["map_vectorization"] if self.enabled else []

    def _static_optimization_configs(self) -> list[str]:
        return [f"map_vectorization:use_choose_fastest:{'true' if self.use_choose_fastest else 'false'}"]


# The optimizations that are done unless they are switched off.
_DEFAULT_OPTIMIZATIONS = ("map_and_batch_fusion", "noop_elimination", "shuffle_and_repeat_fusion")
_OPTIMIZATIONS = (
    "filter_fusion",
    "filter_with_random_uniform_fusion",
    "hoist_random_uniform",
    *_DEFAULT_OPTIMIZATIONS,
    "map_and_filter_fusion",
    "map_parallelization",
    "map_fusion",
    "parallel_batch",
)


def _switch(name: str) -> Any:
    return create_option(name, bool, f"Whether the optimization {name} is done.")


class OptimizationOptions(OptionsBase):
    """Which optimizations are done."""

    apply_default_optimizations = create_option(
        "apply_default_optimizations", bool, "Whether those are done that are not switched off."
    )
    autotune = create_option("autotune", bool, "Whether parallelism is tuned.")
    autotune_algorithm = create_option("autotune_algorithm", int, "How it is tuned.")
    autotune_buffers = create_option("autotune_buffers", bool, "Whether sizes of buffers are tuned, too.")
    autotune_cpu_budget = create_option("autotune_cpu_budget", int, "How many cores are used; 0 for all.")
    filter_fusion = _switch("filter_fusion")
    filter_with_random_uniform_fusion = _switch("filter_with_random_uniform_fusion")
    hoist_random_uniform = _switch("hoist_random_uniform")
    map_and_batch_fusion = _switch("map_and_batch_fusion")
    map_and_filter_fusion = _switch("map_and_filter_fusion")
    map_fusion = _switch("map_fusion")
    map_parallelization = _switch("map_parallelization")
    map_vectorization = create_option(
        "map_vectorization", MapVectorizationOptions, "See there.", MapVectorizationOptions
    )
    noop_elimination = _switch("noop_elimination")
    parallel_batch = _switch("parallel_batch")
    shuffle_and_repeat_fusion = _switch("shuffle_and_repeat_fusion")

    def _static_optimizations(self) -> list[str]:
        found = {name for name in _OPTIMIZATIONS if getattr(self, name)}
        if self.apply_default_optimizations is not False:
            found.update(name for name in _DEFAULT_OPTIMIZATIONS if getattr(self, name) is not False)
        found.update(self.map_vectorization._static_optimizations())
        if self.autotune is not False and self.autotune_buffers:
            found.add("inject_prefetch")
        return sorted(found)

    def _static_optimization_configs(self) -> list[str]:
        found: list[str] = self.map_vectorization._static_optimization_configs()
        return found


class DistributeOptions(OptionsBase):
    """How a dataset is shared by workers; there is one here."""

    auto_shard = create_option("auto_shard", bool, "Whether each worker gets a part.", lambda: True)
    _make_stateless = create_option("_make_stateless", bool, "Whether states are left out.")
    num_devices = create_option("num_devices", int, "How many devices there are.")


class StatsOptions(OptionsBase):
    """What is counted while a dataset runs."""

    aggregator = create_option("aggregator", object, "Who counts.")
    prefix = create_option("prefix", str, "Of the names of what is counted.", lambda: "")
    counter_prefix = create_option("counter_prefix", str, "Of the names of counters.", lambda: "")
    latency_all_edges = create_option("latency_all_edges", bool, "Whether times are measured everywhere.")


class ThreadingOptions(OptionsBase):
    """How many threads there are."""

    max_intra_op_parallelism = create_option("max_intra_op_parallelism", int, "For one operation.")
    private_threadpool_size = create_option("private_threadpool_size", int, "For the dataset alone.")


class Options(OptionsBase):
    """How a dataset is run; `Dataset.with_options` takes them."""

    experimental_deterministic = create_option(
        "experimental_deterministic", bool, "Whether elements come in one order."
    )
    experimental_distribute = create_option(
        "experimental_distribute", DistributeOptions, "See there.", DistributeOptions
    )
    experimental_optimization = create_option(
        "experimental_optimization", OptimizationOptions, "See there.", OptimizationOptions
    )
    experimental_slack = create_option(
        "experimental_slack", bool, "Whether the last `prefetch` waits for the beginning of the next step."
    )
    experimental_stats = create_option("experimental_stats", StatsOptions, "See there.", StatsOptions)
    experimental_threading = create_option(
        "experimental_threading", ThreadingOptions, "See there.", ThreadingOptions
    )
    experimental_stateful_whitelist = create_option(
        "experimental_stateful_whitelist", list, "Types of operations that may be written out with a state."
    )

    def _static_optimizations(self) -> list[str]:
        found: list[str] = self.experimental_optimization._static_optimizations()
        if self.experimental_deterministic is False:
            found.append("make_sloppy")
        if self.experimental_stats.latency_all_edges:
            found.append("latency_all_edges")
        if self.experimental_slack:
            found.append("slack")
        if self.experimental_distribute._make_stateless:
            found.append("make_stateless")
        return found

    def _static_optimization_configs(self) -> list[str]:
        found: list[str] = self.experimental_optimization._static_optimization_configs()
        if self.experimental_slack:
            found.append(f"slack:slack_period:{self.experimental_distribute.num_devices or 1}")
        return found

    def merge(self, options: Options) -> Options:
        """Options in which all that is set in one of the two is set; see `merge_options`."""
        merged: Options = merge_options(self, options)
        return merged

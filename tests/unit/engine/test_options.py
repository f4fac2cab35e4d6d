"""The option classes of embedding variables check what DeepRec checks, and share nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvarn.engine.options import (
    CBFFilter,
    EmbeddingVariableConfig,
    EmbeddingVariableOption,
    InitializerOption,
    L2WeightEvict,
    StorageOption,
    StorageType,
)

GIB = 1 << 30


def test_names_of_the_arguments_and_of_the_attributes() -> None:
    option = EmbeddingVariableOption("t", 7, "evict", "ckpt", "filter")
    found = (option.ht_type, option.ht_partition_num, option.evict, option.ckpt, option.filter_strategy)
    assert found == ("t", 7, "evict", "ckpt", "filter")
    assert option.storage_option.storage_type is None
    assert option.init.default_value_dim == 4096


def test_defaults_are_not_shared() -> None:
    first, second = EmbeddingVariableOption(), EmbeddingVariableOption()
    assert first.storage_option is not second.storage_option
    assert first.init is not second.init
    assert first.storage_option.storage_size is not second.storage_option.storage_size
    assert first.storage_option.storage_size == [GIB] * 4


def test_storage_sizes_are_filled_up_in_place() -> None:
    sizes = [5]
    assert StorageOption(storage_size=sizes).storage_size is sizes
    assert sizes == [5, GIB, GIB, GIB]
    with pytest.raises(ValueError, match="list"):
        StorageOption(storage_size=(5,))  # type: ignore[arg-type]


def test_storage_paths(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="storage_type"):
        StorageOption(storage_path=str(tmp_path / "a"))
    for kind in ("LEVELDB", "SSDHASH", "DRAM_SSDHASH", "DRAM_LEVELDB"):
        with pytest.raises(ValueError, match="storage_path"):
            StorageOption(StorageType[kind])
    StorageOption(StorageType.SSDHASH, str(tmp_path / "b" / "c"))
    assert (tmp_path / "b" / "c").is_dir()
    assert not (tmp_path / "a").exists()


def test_bloom_filter_numbers() -> None:
    assert CBFFilter(3, 100, 0.1).max_element_size == 100
    assert CBFFilter(3).false_positive_probability == -1.0
    for arguments in ((3, 100, 0.0), (3, 0, 0.1), (3, 100, -1.0)):
        with pytest.raises(ValueError, match="false_"):
            CBFFilter(*arguments)


def test_odd_values_are_kept_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="4096"):
        assert InitializerOption(default_value_dim=0).default_value_dim == 0
    with pytest.warns(UserWarning, match="disabled"):
        assert L2WeightEvict(-2.0).l2_weight_threshold == -2.0
    assert L2WeightEvict().l2_weight_threshold == -1.0


def test_reveal_fills_in_what_is_not_set() -> None:
    config = EmbeddingVariableConfig(storage_size=[1])
    copy = config.copy()
    copy.reveal()
    assert (copy.steps_to_live, copy.emb_index, copy.slot_index, copy.slot_num) == (0, 0, 0, 0)
    assert (copy.block_num, copy.ht_type, copy.layout, copy.storage_path) == (1, "", "", "")
    assert config.steps_to_live is None
    assert copy.storage_size is not config.storage_size

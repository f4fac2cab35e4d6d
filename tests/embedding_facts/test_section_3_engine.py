"""The engine: section 3 of the facts (3.1 configuration to 3.8 eviction), on tables, native and reference alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kvarn import errors
from kvarn.dtypes import uint8, uint16, uint32, uint64
from kvarn.engine.policies import BloomAdmission, CounterAdmission, EvictionPolicy, SeededRows
from kvarn.engine.reference import ReferenceEmbeddingTable
from kvarn.engine.table import EmbeddingTable
from kvarn.ops.kv_options import TableOptions

INT64 = np.iinfo(np.int64)
BLOOM = BloomAdmission(3, 1000, 0.01)
MATRIX = np.arange(12, dtype=np.float32).reshape(6, 2) + 1


@pytest.fixture(params=[EmbeddingTable, ReferenceEmbeddingTable], ids=["native", "reference"])
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


def make(kind: Any, admission: Any = None, *, slot: bool = False, dim: int = 2, **arguments: Any) -> Any:
    """A table of rows from MATRIX, with a slot of 0.1 if asked for."""
    table = kind(np.int64, dim, admission=admission, **arguments)
    table.set_default(0, MATRIX[:, :dim])
    if slot:
        table.add_slot("Adagrad", dim, np.full((1, dim), 0.1, np.float32))
    return table


def update(table: Any, keys: Any, *, counts: Any = None, step: int | None = None, lr: float = 1.0) -> None:
    """One step of gradient descent with gradient 1 in every element."""
    grads = np.ones((len(keys), table.value_dim), np.float32)
    table.apply("GradientDescent", keys, grads, params=[lr], counts=counts, step=step)


# -- 3.1 configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attrs", "saves"),
    [({}, False), ({"filter_freq": 2}, True), ({"record_freq": True}, True), ({"filter_freq": -4}, False)],
)
def test_frequencies_are_saved_with_a_filter_or_when_recorded(attrs: Any, saves: bool) -> None:
    """3.1: is_save_freq holds for a filter threshold that is not 0, or recorded frequencies."""
    assert TableOptions.of("b", attrs).is_save_freq is saves


@pytest.mark.parametrize(
    ("attrs", "saves"),
    [
        ({}, False),
        ({"steps_to_live": 9}, True),
        ({"record_version": True}, True),
        ({"filter_freq": 2}, False),
    ],
)
def test_versions_are_saved_with_steps_to_live_or_when_recorded(attrs: Any, saves: bool) -> None:
    """3.1: is_save_version holds for steps_to_live that is not 0, or recorded versions."""
    assert TableOptions.of("b", attrs).is_save_version is saves


def test_bloom_filter_sizes() -> None:
    """3.1, 6b: 1000 elements with probability 0.01 take 7 hash functions and 9586 counters."""
    assert (BLOOM.num_hash, BLOOM.num_counter) == (7, 9586)
    assert BloomAdmission(2, 10, 0.5).num_hash == 1
    assert BloomAdmission(2, 10, 0.25).num_hash == 2
    assert BloomAdmission(2, 100, 1e-7).num_hash == 24


@pytest.mark.parametrize(
    ("attrs", "admission"),
    [
        ({}, None),
        ({"filter_freq": 0, "max_element_size": 10, "false_positive_probability": 0.1}, None),
        ({"filter_freq": 3}, CounterAdmission(3)),
        ({"filter_freq": 3, "max_element_size": 10}, CounterAdmission(3)),
        ({"filter_freq": 3, "false_positive_probability": 0.5}, CounterAdmission(3)),
        ({"filter_freq": 3, "max_element_size": 10, "false_positive_probability": 1.0}, CounterAdmission(3)),
        (
            {"filter_freq": 3, "max_element_size": 10, "false_positive_probability": 0.5},
            BloomAdmission(3, 10, 0.5),
        ),
    ],
)
def test_which_filter_the_numbers_mean(attrs: Any, admission: Any) -> None:
    """3.1: a Bloom filter where both its numbers are given, else a counter filter, none without a threshold."""
    assert TableOptions.of("b", attrs).admission == admission


@pytest.mark.parametrize(("counter_type", "size"), [(uint8, 1), (uint16, 2), (uint32, 4), (uint64, 8)])
def test_counter_types_of_a_bloom_filter(counter_type: Any, size: int) -> None:
    """3.7: counters have 8, 16, 32 or 64 bits."""
    attrs = {"filter_freq": 3, "max_element_size": 9, "false_positive_probability": 0.5}
    found = TableOptions.of("b", attrs | {"counter_type": counter_type}).admission
    assert isinstance(found, BloomAdmission)
    assert found.counter_bytes == size


# -- 3.2 an entry ---------------------------------------------------------------------------------


def test_a_fresh_entry_has_no_frequency_and_no_version(kind: Any) -> None:
    """3.2: frequency 0, version -1."""
    table = make(kind, record_freq=True, record_version=True)
    table.lookup_or_create([3])
    assert table.contains([3]).all()
    assert table.frequency([3]).tolist() == [0]
    assert table.version([3]).tolist() == [-1]


def test_an_entry_is_filled_in_all_slots_from_their_own_matrices(kind: Any) -> None:
    """3.2: slot s starts from row ``key % rows of s``."""
    table = make(kind)
    other = np.arange(8, dtype=np.float32).reshape(4, 2) - 50
    slot = table.add_slot("m", 2, other)
    update(table, [5], lr=0.0)
    np.testing.assert_array_equal(table.lookup([5]), MATRIX[[5]])
    np.testing.assert_array_equal(table.lookup([5], slot=slot), other[[1]])


# -- 3.3 lookup -----------------------------------------------------------------------------------


def test_lookup_without_a_filter(kind: Any) -> None:
    """3.3: an absent key reads its default row, a present one its stored row, and nothing is inserted."""
    table = make(kind)
    update(table, [1])
    np.testing.assert_array_equal(table.lookup([1, 8]), [MATRIX[1] - 1, MATRIX[2]])
    assert table.contains([1, 8]).tolist() == [True, False]


@pytest.mark.parametrize(
    "admission", [CounterAdmission(2), BloomAdmission(2, 100, 0.01)], ids=["counter", "bloom"]
)
@pytest.mark.parametrize("method", ["lookup", "lookup_or_create"])
def test_lookup_with_a_filter(kind: Any, admission: Any, method: str) -> None:
    """3.3: absent and not admitted read the no-permission value, admitted the stored row; nothing is inserted."""
    table = make(kind, admission, no_permission=0.25, record_freq=True)
    update(table, [1, 2])
    update(table, [1])
    rows = getattr(table, method)([1, 2, 3])
    np.testing.assert_array_equal(rows, [MATRIX[1] - 1, [0.25, 0.25], [0.25, 0.25]])
    assert table.contains([1, 2, 3]).tolist() == [True, False, False]
    assert table.frequency([2, 3]).tolist() == [1, 0]


def test_the_no_permission_value_is_of_the_primary(kind: Any) -> None:
    """3.10: slots keep 0 as their no-permission value."""
    table = make(kind, CounterAdmission(2), slot=True, no_permission=7.0)
    assert table.lookup([1], slot=1).tolist() == [[0.0, 0.0]]


def test_default_rows_of_negative_keys(kind: Any) -> None:
    """3.3: the row of a key is that of its magnitude, the least integer included."""
    table = make(kind)
    keys = np.array([-1, -7, INT64.min, INT64.max])
    rows = [1, 1, 2**63 % 6, INT64.max % 6]
    np.testing.assert_array_equal(table.lookup(keys), MATRIX[rows])
    np.testing.assert_array_equal(table.lookup_or_create(keys), MATRIX[rows])
    assert table.contains(keys).all()


def test_what_a_key_reads_before_its_first_update_is_what_it_is_created_with(kind: Any) -> None:
    """3.3: both are the same row of the same matrix."""
    table = make(kind)
    before = table.lookup([9])
    update(table, [9], lr=0.0)
    np.testing.assert_array_equal(table.lookup([9]), before)


@pytest.mark.parametrize("method", ["lookup", "lookup_or_create"])
def test_a_lookup_counts_nothing(kind: Any, method: str) -> None:
    """3.3, 3.4: frequencies are of updates."""
    table = make(kind, record_freq=True)
    update(table, [4])
    getattr(table, method)([4, 4, 4])
    assert table.frequency([4]).tolist() == [1]


@pytest.mark.parametrize("admission", [None, CounterAdmission(3), BLOOM], ids=["open", "counter", "bloom"])
def test_an_adaptive_key_starts_from_the_given_row(kind: Any, admission: Any) -> None:
    """3.3: the new block is made of the given row, and is not counted (twice, in the source)."""
    table = make(kind, admission, slot=True, record_freq=True)
    given = np.array([[7, 7], [8, 8], [9, 9]], np.float32)
    table.create_from([1, 1, 2], given)
    table.create_from([1], given[2:])
    np.testing.assert_array_equal(table.lookup([1, 2]), given[[0, 2]])
    np.testing.assert_array_equal(table.lookup([1, 2], slot=1), np.full((2, 2), 0.1, np.float32))
    # Not counted; but a filter says its threshold of an admitted key at least, and a Bloom filter what it has.
    assert table.contains([1, 2]).all()
    assert table.frequency([1]).tolist() == [0]


# -- 3.4 insertion and counting -------------------------------------------------------------------


def test_an_update_inserts_counts_and_trains(kind: Any) -> None:
    """3.4: without a filter an absent key is allocated, filled and counted, and always updated."""
    table = make(kind, record_freq=True, record_version=True)
    update(table, [2, 3], counts=[4, 1], step=11)
    np.testing.assert_array_equal(table.lookup([2, 3]), MATRIX[2:4] - 1)
    assert table.frequency([2, 3]).tolist() == [4, 1]
    assert table.version([2, 3]).tolist() == [11, 11]


def test_counter_filter_admits_at_once_what_comes_often_enough(kind: Any) -> None:
    """3.4: an absent key with ``count >= F`` gets a block and its update in the same step."""
    table = make(kind, CounterAdmission(3), record_freq=True)
    update(table, [1, 2], counts=[3, 2])
    assert table.contains([1, 2]).tolist() == [True, False]
    np.testing.assert_array_equal(table.lookup([1]), MATRIX[[1]] - 1)
    assert table.frequency([1, 2]).tolist() == [3, 2]
    assert (table.size, table.admitted_size) == (2, 1)


def test_counter_filter_promotes_with_what_the_record_had(kind: Any) -> None:
    """3.4: a record that reaches F keeps its count and version, and is updated in this same step."""
    table = make(kind, CounterAdmission(3), record_freq=True, record_version=True)
    update(table, [1], counts=[2], step=5)
    assert table.version([1]).tolist() == [5]
    update(table, [1])  # a step of an optimizer that stamps no version
    assert table.contains([1]).all()
    assert table.frequency([1]).tolist() == [3]
    assert table.version([1]).tolist() == [5]
    np.testing.assert_array_equal(table.lookup([1]), MATRIX[[1]] - 1)
    update(table, [1], counts=[10])
    assert table.frequency([1]).tolist() == [13]


def test_an_id_seen_once_a_step_trains_in_step_f(kind: Any) -> None:
    """3.4: the comparison is inclusive; the learnt row shows in the lookup after step F."""
    table = make(kind, CounterAdmission(4), no_permission=-1.0)
    seen = []
    for _ in range(5):
        seen.append(table.lookup([1])[0, 0])
        update(table, [1])
    assert seen == [-1, -1, -1, -1, MATRIX[1, 0] - 1]


def test_counter_filter_of_the_worked_numbers(kind: Any) -> None:
    """6b: F = 4, seen twice a step: counter 2, then 4 and admitted; lookups 1 and 2 give no permission."""
    table = make(kind, CounterAdmission(4), no_permission=-1.0)
    grads = np.ones((2, 2), np.float32)
    assert table.lookup([1]).tolist() == [[-1, -1]]
    table.apply("GradientDescent", [1, 1], grads, params=[1.0], counts=[1, 1])
    assert table.frequency([1]).tolist() == [2]
    assert table.lookup([1]).tolist() == [[-1, -1]]
    table.apply("GradientDescent", [1, 1], grads, params=[1.0], counts=[1, 1])
    assert table.frequency([1]).tolist() == [4]
    np.testing.assert_array_equal(table.lookup([1]), MATRIX[[1]] - 2)


def test_thresholds_have_no_bound(kind: Any) -> None:
    """3.4: 65536 and more are fatal in the source, and a threshold like any other here."""
    table = make(kind, CounterAdmission(70_000), record_version=True)
    update(table, [1], counts=[69_999], step=2**49)
    assert table.contains([1]).tolist() == [False]
    assert (table.frequency([1]).tolist(), table.version([1]).tolist()) == ([69_999], [2**49])
    update(table, [1])
    assert table.contains([1]).all()


def test_a_waiting_key_gets_versions_but_no_slots(kind: Any) -> None:
    """3.4, 6: not admitted means counting and version only, neither slot nor value."""
    table = make(kind, CounterAdmission(3), slot=True, record_version=True)
    table.apply("Adagrad", [1], np.ones((1, 2), np.float32), slots=[1], params=[0.5], step=8)
    assert table.version([1]).tolist() == [8]
    table.import_rows(0, [1], MATRIX[:1])
    np.testing.assert_array_equal(table.lookup([1], slot=1), np.full((1, 2), 0.1, np.float32))


def test_bloom_filter_raises_counters_below_the_threshold_only(kind: Any) -> None:
    """3.4: counts add to counters below F; the update that would reach F admits and leaves them."""
    table = make(kind, BLOOM, record_freq=True)
    for seen in (0, 1, 2):
        assert table.frequency([1]).tolist() == [seen]
        assert not table.contains([1]).any()
        update(table, [1])
    assert table.contains([1]).all()
    assert table.frequency([1]).tolist() == [2]
    np.testing.assert_array_equal(table.lookup([1]), MATRIX[[1]] - 1)
    update(table, [2], counts=[2])
    assert table.frequency([2]).tolist() == [2]


def test_bloom_filter_keeps_no_block_of_a_waiting_key(kind: Any) -> None:
    """3.4: nothing is stored of it, and no version is set."""
    table = make(kind, BLOOM, record_version=True)
    update(table, [1], step=4)
    assert table.size == 0
    assert table.version([1]).tolist() == [-1]


def test_bloom_filter_frequency_in_the_block(kind: Any) -> None:
    """3.4: what is counted in the block begins with the update that admits."""
    table = make(kind, BLOOM, record_freq=True)
    update(table, [1], counts=[2])
    update(table, [1], counts=[5])
    assert table.export()[2].tolist() == [5]


def test_gradients_of_equal_keys_are_one_update(kind: Any) -> None:
    """3.4: they are summed; without counts the key is counted once."""
    table = make(kind, slot=True, record_freq=True)
    grads = np.array([[1, 0], [5, 5], [2, 0]], np.float32)
    table.apply("Adagrad", [1, 2, 1], grads, slots=[1], params=[1.0])
    a = np.float32(0.1) + np.float32(9)
    assert table.lookup([1], slot=1)[0, 0] == a
    assert table.lookup([1])[0, 0] == MATRIX[1, 0] - np.float32(3) / np.sqrt(a)
    assert table.frequency([1, 2]).tolist() == [1, 1]


def test_counts_are_of_occurrences(kind: Any) -> None:
    """3.4: the counts given for equal keys add up."""
    table = make(kind, record_freq=True)
    update(table, [1, 2, 1], counts=[2, 1, 3])
    assert table.frequency([1, 2]).tolist() == [5, 1]


def test_frequency_is_not_stored_unless_asked_for(kind: Any) -> None:
    """3.4: without recorded frequencies there are none."""
    table = make(kind)
    update(table, [1], counts=[5])
    assert table.frequency([1]).tolist() == [0]
    assert table.export()[2].tolist() == [0]


# -- 3.5 frequency and version of a key ------------------------------------------------------------


@pytest.mark.parametrize("admission", [None, CounterAdmission(2), BLOOM], ids=["open", "counter", "bloom"])
def test_asking_for_frequency_and_version_creates_nothing(kind: Any, admission: Any) -> None:
    """3.5: the source creates the key; asking is no use of it here."""
    table = make(kind, admission, record_freq=True, record_version=True)
    assert table.frequency([[1, 2]]).tolist() == [[0, 0]]
    assert table.version([1]).tolist() == [-1]
    assert table.size == 0


@pytest.mark.parametrize(("recorded", "admitted"), [(False, 2), (True, 7)])
def test_frequency_under_a_counter_filter(kind: Any, recorded: bool, admitted: int) -> None:
    """3.5: the counter of a waiting key; of an admitted one the threshold, or the real count if recorded."""
    table = make(kind, CounterAdmission(2), record_freq=recorded)
    update(table, [1, 2], counts=[7, 1])
    assert table.frequency([1, 2, 3]).tolist() == [admitted, 1, 0]


def test_frequency_under_a_bloom_filter(kind: Any) -> None:
    """3.5: the least counter, which stops at about the threshold."""
    table = make(kind, BLOOM, record_freq=True)
    update(table, [1], counts=[2])
    for _ in range(5):
        update(table, [1], counts=[10])
    assert table.frequency([1]).tolist() == [2]


def test_versions_that_are_not_recorded_are_minus_one(kind: Any) -> None:
    """3.5: fatal in the source."""
    table = make(kind, CounterAdmission(2))
    update(table, [1, 2], counts=[2, 1], step=4)
    assert table.version([1, 2]).tolist() == [-1, -1]


# -- 3.7 the hash of the Bloom filter ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "seed", "hashed", "place"),
    [
        (0, 2, 0x74B91C6BFD5DBAA0, 7248),
        (1, 2, 0x0747F1124DD38311, 7025),
        (1, 3, 0xEDC2BEE44EE111A7, 2029),
        (5, 7, 0xE6B61E8486F0CCDF, 3195),
        (-1, 2, 0xDED067F6A808AAF5, 4899),
        (123456789012345, 97, 0x0319E673658098C6, 2220),
    ],
)
def test_bloom_hash(key: int, seed: int, hashed: int, place: int) -> None:
    """3.7, 6b: hash(key, seed), and its counter of 9586."""
    assert int(BloomAdmission.hash([key], seed)[0]) == hashed
    assert hashed % BLOOM.num_counter == place


def test_bloom_places_are_those_of_the_first_primes() -> None:
    """3.7: function i has the i-th prime as its seed."""
    primes = [2, 3, 5, 7, 11, 13, 17]
    places = [int(BloomAdmission.hash([1], seed)[0]) % 9586 for seed in primes]
    assert BLOOM.places([1])[:, 0].tolist() == places
    assert places[:2] == [7025, 2029]


def test_more_than_25_hash_functions_are_refused() -> None:
    """3.7: the source divides by zero."""
    with pytest.raises(errors.InvalidArgumentError, match="hash functions"):
        BloomAdmission(2, 10, 1e-9)


def test_two_functions_that_hit_one_counter_raise_it_twice(kind: Any) -> None:
    """3.7: once per hit, while it is below the threshold."""
    # 2 counters, 1 function each for p = 0.5 and 3 counters, 2 functions for p = 0.25.
    admission = BloomAdmission(10, 1, 0.25)
    assert (admission.num_hash, admission.num_counter) == (2, 3)
    places = admission.places(np.arange(100))
    twice = int(np.flatnonzero(places[0] == places[1])[0])
    table = make(kind, admission)
    update(table, [twice])
    assert table.frequency([twice]).tolist() == [2]


def test_counters_stay_at_the_greatest_number_they_hold(kind: Any) -> None:
    """3.7: the source would begin again at 0; a threshold out of reach is refused."""
    table = make(kind, BloomAdmission(255, 10, 0.5, counter_bytes=1))
    update(table, [1], counts=[200])
    update(table, [1], counts=[54])
    assert table.frequency([1]).tolist() == [254]
    with pytest.raises(errors.InvalidArgumentError, match="never reach"):
        BloomAdmission(256, 10, 0.5, counter_bytes=1)


# -- 3.8 eviction ---------------------------------------------------------------------------------


def kept(table: Any, keys: Any) -> list[int]:
    return [key for key in keys if table.contains([key])[0]]


def test_global_step_evict_of_the_worked_numbers(kind: Any) -> None:
    """3.8, 6b: touched at 10, 3 steps to live: kept at 13, gone at 14 (strict)."""
    table = make(kind, record_version=True)
    update(table, [1], step=10)
    policy = EvictionPolicy(steps_to_live=3)
    assert table.evict(policy, 13).removed == 0
    assert table.evict(policy, 14).removed == 1
    assert table.size == 0


def test_a_key_without_a_version_gets_the_step_and_stays(kind: Any) -> None:
    """3.8: version -1 becomes the global step of the save."""
    table = make(kind, record_version=True)
    table.lookup_or_create([1])
    policy = EvictionPolicy(steps_to_live=3)
    assert table.evict(policy, 100).removed == 0
    assert table.version([1]).tolist() == [100]
    assert table.evict(policy, 104).by_reason == {"age": 1}


def test_age_evicts_waiting_keys_too(kind: Any) -> None:
    """3.8: counter records included."""
    table = make(kind, CounterAdmission(5), record_version=True)
    update(table, [1, 2], step=1)
    update(table, [2], step=9)
    assert table.evict(EvictionPolicy(steps_to_live=3), 9).removed == 1
    assert table.frequency([1, 2]).tolist() == [0, 2]


def test_l2_weight_evict_is_strict(kind: Any) -> None:
    """3.8: deleted iff half the sum of squares of the primary's row is below the threshold."""
    table = make(kind, slot=True)
    table.import_rows(0, [1, 2, 3], np.array([[1, 1], [1, 1.1], [0, 0]], np.float32))
    report = table.evict(EvictionPolicy(l2_weight_threshold=1.0), 0)
    assert (report.removed, report.by_reason, report.sample_keys) == (1, {"norm": 1}, (3,))
    assert kept(table, [1, 2, 3]) == [1, 2]


def test_l2_weight_evict_skips_waiting_keys(kind: Any) -> None:
    """3.8: the source reads their records as rows."""
    table = make(kind, CounterAdmission(5))
    update(table, [1])
    assert table.evict(EvictionPolicy(l2_weight_threshold=1e9), 0).removed == 0
    assert table.frequency([1]).tolist() == [1]


def test_a_negative_threshold_other_than_minus_one_deletes_nothing(kind: Any) -> None:
    """1.2: no sum of squares is below it."""
    table = make(kind)
    table.import_rows(0, [1], np.zeros((1, 2), np.float32))
    assert table.evict(EvictionPolicy(l2_weight_threshold=-2.0), 0).removed == 0


@pytest.mark.parametrize(
    ("attrs", "policy"),
    [
        ({}, None),
        ({"steps_to_live": 5}, EvictionPolicy(steps_to_live=5)),
        ({"l2_weight_threshold": 0.5}, EvictionPolicy(l2_weight_threshold=0.5)),
        ({"steps_to_live": 5, "l2_weight_threshold": 0.5}, EvictionPolicy(steps_to_live=5)),
    ],
)
def test_which_eviction_the_attributes_mean(attrs: Any, policy: Any) -> None:
    """3.8: age first, never both, unless they were combined on purpose."""
    assert TableOptions.of("b", attrs).eviction == policy


def test_evicted_keys_take_their_slots_along(kind: Any) -> None:
    """3.8: they vanish; the key begins anew."""
    table = make(kind, slot=True, record_version=True)
    table.apply("Adagrad", [1], np.ones((1, 2), np.float32), slots=[1], params=[0.5], step=1)
    table.evict(EvictionPolicy(steps_to_live=3), 9)
    assert table.snapshot().size == 0
    table.lookup_or_create([1])
    np.testing.assert_array_equal(table.lookup([1]), MATRIX[[1]])
    np.testing.assert_array_equal(table.lookup([1], slot=1), np.full((1, 2), 0.1, np.float32))


# -- rows by seed, kvarn's own ----------------------------------------------------------------------


@pytest.mark.parametrize("distribution", ["uniform", "normal", "truncated_normal"])
def test_rows_by_seed(kind: Any, distribution: Any) -> None:
    """1.2 (kvarn): a row depends on seed, key and column alone; both engines draw the same bits."""
    rows = SeededRows(7, distribution, -0.5, 2.0)
    keys = np.array([0, 1, -1, 10**12, INT64.min, INT64.max])
    table = kind(np.int64, 9)
    table.set_default(0, rows)
    found = table.lookup_or_create(keys[::-1])[::-1]
    np.testing.assert_array_equal(found, rows.rows(keys, 9))
    assert len(np.unique(found)) == found.size

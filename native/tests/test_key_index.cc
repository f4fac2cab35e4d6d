// The key index against std::unordered_map: shapes of key sets, keys made to collide, batches, memory.
#include <algorithm>
#include <new>
#include <random>
#include <unordered_map>
#include <vector>

#include "check.h"
#include "key_index_model.h"
#include "kvarn/engine/key_index.h"

namespace {

using kvarn::KeyBucket;
using kvarn::KeyIndex;
using kvarn::KeyIndexInspector;
using kvarn::testing::Model;
using kvarn::testing::same;
using kvarn::testing::unhash;

constexpr uint32_t kNoRow = KeyIndex::kNoRow;

// Random insertions, removals and changes of rows; `key_of` names the keys by numbers below n_keys.
template <typename KeyOf>
void play(uint64_t seed, size_t n_steps, size_t n_keys, unsigned inserts_in_8, KeyOf key_of) {
  std::mt19937_64 random(seed);
  KeyIndex index;
  Model model;
  for (uint32_t i = 0; i < n_steps; i++) {
    const int64_t key = key_of(random() % n_keys);
    const auto it = model.find(key);
    const uint32_t row = it == model.end() ? kNoRow : it->second;
    if (random() % 8 < inserts_in_8) {
      if (row == kNoRow) {
        model.emplace(key, i);
        index.insert(key, i);
      } else {
        model[key] = i;
        CHECK(index.set(key, i));
      }
    } else {
      if (row == kNoRow) CHECK(!index.set(key, i));
      model.erase(key);
      CHECK(index.erase(key) == row);
    }
    if (i % (n_steps / 8) == 0) CHECK(same(index, model) && KeyIndexInspector::sound(index));
  }
  CHECK(same(index, model) && KeyIndexInspector::sound(index));
}

TEST(random_operations_on_key_sets_of_several_shapes) {
  for (const unsigned inserts_in_8 : {5u, 4u, 3u}) {
    for (const int shift : {0, 20, 48}) {  // dense, multiples of a power of two, the whole range
      play(1, 60'000, 20'000, inserts_in_8,
           [=](uint64_t k) { return static_cast<int64_t>(k << shift) - 1500; });
    }
    play(2, 60'000, 20'000, inserts_in_8, [](uint64_t k) { return unhash(k * 0x9e3779b97f4a7c15u); });
  }
}

TEST(no_key_is_reserved) {
  KeyIndex index;
  const std::vector<int64_t> keys = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1, -1, 0, 1};
  std::vector<uint32_t> rows(keys.size());
  index.find_many(keys.data(), keys.size(), rows.data());
  for (const uint32_t row : rows) CHECK(row == kNoRow);
  CHECK(index.find_or_insert_many(keys.data(), nullptr, keys.size(), 7, rows.data()) == keys.size());
  for (uint32_t i = 0; i < keys.size(); i++) CHECK(rows[i] == 7 + i && index.find(keys[i]) == 7 + i);
  for (uint32_t i = 0; i < keys.size(); i++) CHECK(index.erase(keys[i]) == 7 + i);
  for (const int64_t key : keys) CHECK(index.find(key) == kNoRow && index.erase(key) == kNoRow);
  CHECK(index.size() == 0);
}

// Keys come and go: the table stays as it would be without those that went.
TEST(a_table_that_is_always_nearly_full) {
  std::mt19937_64 random(6);
  KeyIndex index;
  std::vector<int64_t> keys;
  for (uint32_t i = 0; i < 4090; i++) {
    keys.push_back(static_cast<int64_t>(random()));
    index.insert(keys.back(), i);
  }
  const size_t bytes = index.bytes();
  for (uint32_t i = 0; i < 100'000; i++) {
    int64_t& key = keys[random() % keys.size()];
    index.erase(key);
    key = static_cast<int64_t>(random());
    index.insert(key, i);
    CHECK(index.find(key) == i);
    if (i % 10'000 == 0) CHECK(KeyIndexInspector::sound(index));
  }
  CHECK(KeyIndexInspector::sound(index) && index.bytes() == bytes && index.size() == keys.size());
  for (const int64_t key : keys) CHECK(index.erase(key) != kNoRow);
  CHECK(KeyIndexInspector::sound(index) && index.size() == 0);
}

// Row kNoRow - 1 is the last one; and a used slot is known by its bit, not by its row or key.
TEST(rows_are_any_number) {
  KeyIndex index;
  index.insert(0, 0);
  index.insert(1, kNoRow - 1);
  CHECK(index.find(0) == 0 && index.find(1) == kNoRow - 1 && index.find(2) == kNoRow);
}

TEST(hashes_are_inverted_right) {
  for (uint64_t i = 0; i < 1000; i++) CHECK(kvarn::hash_id(unhash(i << 50 | i)) == (i << 50 | i));
}

// Keys whose hashes share their upper 40 bits: no directory separates them, so a segment has to grow.
TEST(keys_that_share_the_upper_bits_of_the_hash) {
  for (const uint64_t upper : {uint64_t{0}, ~uint64_t{0}, uint64_t{0xabcdef0123}}) {
    const auto key_of = [=](uint64_t k) { return unhash(upper << 24 | (k & 0xffffff)); };
    play(3, 60'000, 30'000, 5, key_of);
    KeyIndex index;
    for (uint32_t i = 0; i < 100'000; i++) index.insert(key_of(i * 31), i);
    for (uint32_t i = 0; i < 100'000; i++) CHECK(index.find(key_of(i * 31)) == i);
    CHECK(index.bytes() < 28 * index.size());
    // Others among them live as ever.
    for (uint32_t i = 0; i < 100'000; i++) index.insert(unhash((i + uint64_t{1}) * 0x9e3779b97f4a7c15u), i);
    CHECK(index.size() == 200'000 && index.bytes() < 28 * index.size());
    for (uint32_t i = 0; i < 100'000; i++) CHECK(index.erase(key_of(i * 31)) == i);
    for (uint32_t i = 0; i < 100'000; i++) {
      CHECK(index.find(unhash((i + uint64_t{1}) * 0x9e3779b97f4a7c15u)) == i);
    }
  }
}

// The worst there is: keys of one position that also begin in the same bucket.
TEST(keys_that_all_begin_in_one_bucket) {
  std::vector<int64_t> keys;
  for (uint64_t x = 0; keys.size() < 3000; x++) {
    const uint64_t hash = uint64_t{0x12345678} << 33 | x;
    if (hash * KeyIndex::kSpread >> 52 == 0xabc) keys.push_back(unhash(hash));
  }
  play(4, 20'000, keys.size(), 5, [&](uint64_t k) { return keys[k]; });
}

TEST(counts_of_passed_keys_end_and_stay) {
  KeyBucket bucket{};
  bucket.add_passed();
  CHECK(bucket.passed() && bucket.used() == 0);
  bucket.take_passed();
  CHECK(!bucket.passed());
  bucket.meta = KeyBucket::kPassedEnd - KeyBucket::kOnePassed + 3;
  bucket.add_passed();
  bucket.add_passed();
  bucket.take_passed();
  CHECK(bucket.meta == KeyBucket::kPassedEnd + 3);
}

TEST(batches_of_all_lengths_with_repeated_keys_and_positions) {
  std::mt19937_64 random(5);
  KeyIndex index;
  Model model;
  for (size_t round = 0; round < 400; round++) {
    const size_t n_keys = round < 200 ? round : random() % 3000;
    std::vector<int64_t> keys(n_keys);
    for (int64_t& key : keys) key = static_cast<int64_t>(random() % 50'000) - 25'000;
    std::vector<uint32_t> positions;
    for (uint32_t i = 0; i < n_keys; i++) {
      if (random() % 4 != 0) positions.push_back(i);
    }
    if (round % 3 == 0) std::shuffle(positions.begin(), positions.end(), random);
    const bool all = round % 2 == 0;
    const size_t n = all ? n_keys : positions.size();

    std::vector<uint32_t> found(n_keys, 12345);
    index.find_many(keys.data(), n_keys, found.data());
    for (size_t i = 0; i < n_keys; i++) {
      const auto it = model.find(keys[i]);
      CHECK(found[i] == (it == model.end() ? kNoRow : it->second));
    }

    std::vector<uint32_t> expected(n_keys, 777), rows(n_keys, 777);
    const auto first_row = static_cast<uint32_t>(1'000'000 + round * 10'000);
    uint32_t next_row = first_row;
    for (size_t i = 0; i < n; i++) {
      const size_t at = all ? i : positions[i];
      const auto [it, is_new] = model.emplace(keys[at], next_row);
      if (is_new) next_row++;
      expected[at] = it->second;
    }
    CHECK(index.find_or_insert_many(keys.data(), all ? nullptr : positions.data(), n, first_row,
                                    rows.data()) == next_row - first_row);
    CHECK(rows == expected);
  }
  CHECK(same(index, model));
}

TEST(small_tables_are_small_and_clear_gives_memory_back) {
  KeyIndex index;
  const size_t empty = index.bytes();
  CHECK(empty <= 256);
  for (uint32_t i = 0; i < 10; i++) index.insert(i, i);
  CHECK(index.bytes() <= 1024);
  for (uint32_t i = 10; i < 100'000; i++) index.insert(i, i);
  index.clear();
  CHECK(index.size() == 0 && index.bytes() == empty && index.find(5) == kNoRow);
  index.insert(5, 6);
  CHECK(index.size() == 1 && index.find(5) == 6);
}

TEST(removals_give_memory_back) {
  KeyIndex index;
  for (uint32_t i = 0; i < 600'000; i++) index.insert(i, i);
  const size_t before = index.bytes();
  for (uint32_t i = 0; i < 600'000; i++) {
    if (i % 20 != 0) CHECK(index.erase(i) == i);
  }
  CHECK(KeyIndexInspector::sound(index));
  CHECK(index.bytes() < before / 3);
  for (uint32_t i = 0; i < 600'000; i++) CHECK(index.find(i) == (i % 20 == 0 ? i : kNoRow));
  for (uint32_t i = 0; i < 600'000; i++) {
    if (i % 20 != 0) index.insert(i, i);
  }
  CHECK(KeyIndexInspector::sound(index));
  CHECK(index.bytes() < before + before / 4);
}

TEST(bytes_a_key_are_about_the_same_at_every_size_and_grow_by_little) {
  KeyIndex index;
  double sum = 0;
  size_t n_sizes = 0;
  size_t before = index.bytes();
  for (uint32_t i = 0; i < 1'100'000; i++) {
    index.insert(static_cast<int64_t>(i) * 64, i);
    const size_t bytes = index.bytes();
    CHECK(bytes <= before + (3 << 20));
    before = bytes;
    const size_t n = i + 1;
    if (n < 1000 || n % (n / 100) != 0) continue;
    const double a_key = static_cast<double>(bytes) / static_cast<double>(n);
    CHECK(a_key < 26);
    sum += a_key;
    n_sizes++;
  }
  CHECK(sum / static_cast<double>(n_sizes) < 21);
}

// Whatever was there before, and whether or not all the keys that room was made for come.
TEST(room_for_many_keys_at_once) {
  for (const uint32_t before : {0u, 5u, 3'000u, 200'000u}) {
    KeyIndex index;
    for (uint32_t i = 0; i < before; i++) index.insert(i, i);
    index.reserve(1'000'000);
    CHECK(KeyIndexInspector::sound(index));
    for (uint32_t i = 0; i < before; i++) CHECK(index.find(i) == i);
    const size_t reserved = index.bytes();
    for (uint32_t i = before; i < 1'000'000; i++) index.insert(i, i);
    CHECK(KeyIndexInspector::sound(index));
    CHECK(index.bytes() < reserved + reserved / 50);  // now and then a segment gets more than its share
    CHECK(index.bytes() < 26 * 1'000'000);
    index.reserve(10);
    CHECK(index.size() == 1'000'000);
  }
}

}  // namespace

KVARN_TEST_MAIN

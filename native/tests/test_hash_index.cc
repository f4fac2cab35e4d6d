// The index against std::unordered_map under random insertion and removal, with keys that collide.
#include <random>
#include <unordered_map>

#include "check.h"
#include "kvarn/engine/hash_index.h"

namespace {

using kvarn::HashIndex;

bool same(const HashIndex& index, const std::unordered_map<int64_t, uint32_t>& model) {
  if (index.size() != model.size()) return false;
  for (const auto& [key, row] : model) {
    if (index.find(key)->row != row || index.find(key)->key != key) return false;
  }
  return true;
}

void put(HashIndex& index, int64_t key, uint32_t row) {
  if (index.full()) index.grow();
  index.insert_at(index.find(key), key, row);
}

TEST(random_insertions_and_removals) {
  std::mt19937_64 random(1);
  // Key sets of several shapes: dense, multiples of a power of two, and the whole range.
  for (const int shift : {0, 20, 48}) {
    HashIndex index;
    std::unordered_map<int64_t, uint32_t> model;
    for (uint32_t i = 0; i < 20'000; i++) {
      const auto key = static_cast<int64_t>((random() % 3000) << shift) - 1500;
      if (random() % 3 != 0) {
        if (model.emplace(key, i).second) put(index, key, i);
      } else {
        const auto it = model.find(key);
        const uint32_t expected = it == model.end() ? HashIndex::kNoRow : it->second;
        if (it != model.end()) model.erase(it);
        CHECK(index.erase(key) == expected);
      }
      if (i % 500 == 0) CHECK(same(index, model));
    }
    CHECK(same(index, model));
  }
}

TEST(no_key_is_reserved) {
  HashIndex index;
  const int64_t keys[] = {INT64_MIN, INT64_MAX, -1, 0, 1};
  for (const int64_t key : keys) CHECK(index.find(key)->row == HashIndex::kNoRow);
  for (uint32_t i = 0; i < 5; i++) put(index, keys[i], i);
  for (uint32_t i = 0; i < 5; i++) CHECK(index.find(keys[i])->row == i);
  for (uint32_t i = 0; i < 5; i++) CHECK(index.erase(keys[i]) == i);
  for (const int64_t key : keys) CHECK(index.find(key)->row == HashIndex::kNoRow);
}

TEST(clear_gives_the_memory_back) {
  HashIndex index;
  const size_t bytes = index.bytes();
  for (uint32_t i = 0; i < 10'000; i++) put(index, i, i);
  CHECK(index.bytes() > bytes);
  index.clear();
  CHECK(index.size() == 0 && index.bytes() == bytes);
  CHECK(index.find(5)->row == HashIndex::kNoRow);
}

}  // namespace

KVARN_TEST_MAIN

// The key index against std::unordered_map.
#include <random>
#include <unordered_map>
#include <vector>

#include "check.h"
#include "kvarn/engine/key_index.h"

namespace {

using kvarn::KeyIndex;
using Model = std::unordered_map<int64_t, uint32_t>;

template <typename Index>
bool same(const Index& index, const Model& model) {
  size_t seen = 0;
  bool right = index.size() == model.size();
  index.for_each([&](int64_t key, uint32_t row) {
    const auto it = model.find(key);
    right = right && it != model.end() && it->second == row;
    seen++;
  });
  for (const auto& [key, row] : model) right = right && index.find(key) == row;
  return right && seen == model.size();
}

TEST(random_insertions_and_removals) {
  std::mt19937_64 random(1);
  // Key sets of several shapes: dense, multiples of a power of two, and the whole range.
  for (const int shift : {0, 20, 48}) {
    KeyIndex index;
    Model model;
    for (uint32_t i = 0; i < 60'000; i++) {
      const auto key = static_cast<int64_t>((random() % 9000) << shift) - 1500;
      if (random() % 3 != 0) {
        if (model.emplace(key, i).second) index.insert(key, i);
      } else {
        const auto it = model.find(key);
        const uint32_t expected = it == model.end() ? KeyIndex::kNoRow : it->second;
        if (it != model.end()) model.erase(it);
        CHECK(index.erase(key) == expected);
      }
      if (i % 5000 == 0) CHECK(same(index, model));
    }
    CHECK(same(index, model));
  }
}

TEST(no_key_is_reserved) {
  KeyIndex index;
  const int64_t keys[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, -1, 0, 1};
  for (const int64_t key : keys) CHECK(index.find(key) == KeyIndex::kNoRow);
  for (uint32_t i = 0; i < 6; i++) index.insert(keys[i], i);
  for (uint32_t i = 0; i < 6; i++) CHECK(index.find(keys[i]) == i);
  for (uint32_t i = 0; i < 6; i++) CHECK(index.erase(keys[i]) == i);
  for (const int64_t key : keys) CHECK(index.find(key) == KeyIndex::kNoRow);
}

}  // namespace

KVARN_TEST_MAIN

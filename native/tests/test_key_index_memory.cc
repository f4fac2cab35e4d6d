// The key index when memory runs out: a call that throws has changed nothing.
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

#include "check.h"
#include "key_index_model.h"
#include "kvarn/engine/key_index.h"

namespace {

constexpr int kNever = -1;
int allocations_left = kNever;  // then every one fails

void* allocate(size_t bytes, size_t alignment) {
  if (allocations_left == 0) throw std::bad_alloc();
  if (allocations_left > 0) allocations_left--;
  void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t a) { return allocate(bytes, static_cast<size_t>(a)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

using kvarn::KeyIndex;
using kvarn::testing::Model;
using kvarn::testing::same;

// Whether `call` threw, with every allocation failing after the first `n`.
template <typename Call>
bool throws_after(int n, Call call) {
  allocations_left = n;
  bool thrown = false;
  try {
    call();
  } catch (const std::bad_alloc&) {
    thrown = true;
  }
  allocations_left = kNever;
  return thrown;
}

TEST(insert_without_memory_changes_nothing) {
  KeyIndex index;
  Model model;
  size_t n_thrown = 0;
  for (uint32_t i = 0; i < 60'000; i++) {
    const auto key = static_cast<int64_t>(i) * 1024;
    for (int n = 0; throws_after(n, [&] { index.insert(key, i); }); n++) {
      CHECK(index.find(key) == KeyIndex::kNoRow && index.size() == i);
      if (n_thrown++ % 50 == 0) CHECK(same(index, model) && kvarn::KeyIndexInspector::sound(index));
    }
    model.emplace(key, i);
    CHECK(index.find(key) == i);
  }
  CHECK(n_thrown > 100);
  CHECK(same(index, model));
}

TEST(changes_under_a_view_without_memory_change_nothing) {
  KeyIndex index;
  Model model;
  for (uint32_t i = 0; i < 30'000; i++) {
    index.insert(i, i);
    model.emplace(i, i);
  }
  const auto view = index.view();
  CHECK(throws_after(0, [&] { index.view(); }));
  CHECK(throws_after(0, [&] { index.clear(); }));
  CHECK(throws_after(0, [&] { index.set(5, 6); }));
  CHECK(throws_after(1, [&] { index.set(5, 6); }));
  CHECK(throws_after(0, [&] { index.erase(5); }));
  CHECK(throws_after(0, [&] { index.insert(-5, 6); }));
  CHECK(!throws_after(0, [&] { CHECK(!index.set(-5, 6) && index.erase(-5) == KeyIndex::kNoRow); }));
  CHECK(same(index, model) && same(*view, model));
}

// What came before the key that found no memory is in, and size tells how much that is.
TEST(batches_stop_where_memory_ends) {
  std::vector<int64_t> keys(200'000);
  for (size_t i = 0; i < keys.size(); i++) keys[i] = static_cast<int64_t>(i * i);
  std::vector<uint32_t> rows(keys.size());
  for (const int n : {0, 1, 5, 20, 100}) {
    KeyIndex index;
    CHECK(throws_after(
        n, [&] { index.find_or_insert_many(keys.data(), nullptr, keys.size(), 0, rows.data()); }));
    const size_t done = index.size();
    CHECK(done < keys.size());
    for (size_t i = 0; i < keys.size(); i++) CHECK(index.find(keys[i]) == (i < done ? i : KeyIndex::kNoRow));
    CHECK(index.find_or_insert_many(keys.data(), nullptr, keys.size(), static_cast<uint32_t>(done),
                                    rows.data()) == keys.size() - done);
    for (uint32_t i = 0; i < keys.size(); i++) CHECK(index.find(keys[i]) == i);
  }
}

TEST(pieces_without_memory_leave_the_rest) {
  std::vector<int64_t> keys(200'000);
  for (size_t i = 0; i < keys.size(); i++) keys[i] = static_cast<int64_t>(i * 3);
  std::vector<uint32_t> rows(keys.size());
  KeyIndex index;
  int n = 0;
  while (throws_after(n, [&] { CHECK(index.prepare(keys.size())); })) n++;
  CHECK(n > 10);
  std::vector<uint32_t> numbers(keys.size());
  std::iota(numbers.begin(), numbers.end(), 0u);
  allocations_left = 0;
  const auto [done, inserted] =
      index.find_or_insert_piece(keys.data(), numbers.data(), keys.size(), 0, rows.data());
  allocations_left = kNever;
  CHECK(done < keys.size() && inserted == done && index.size() == done);
  index.find_or_insert_numbered(keys.data(), numbers.data(), keys.size(), 0, rows.data());
  for (uint32_t i = 0; i < keys.size(); i++) CHECK(index.find(keys[i]) == i);
}

}  // namespace

KVARN_TEST_MAIN

// Views of the key index while it changes, and work on its pieces on several threads.
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"
#include "key_index_model.h"
#include "kvarn/engine/key_index.h"

namespace {

using kvarn::KeyIndex;
using kvarn::testing::Model;
using kvarn::testing::same;
using ViewPtr = std::shared_ptr<const KeyIndex::View>;

// A dense set, spread over the index.
int64_t key_of(uint64_t i) { return static_cast<int64_t>(i * 2654435761u) - 1'000'000'007; }

TEST(views_keep_what_they_saw) {
  std::mt19937_64 random(1);
  KeyIndex index;
  Model model;
  std::deque<std::pair<ViewPtr, Model>> views;
  for (uint32_t i = 0; i < 120'000; i++) {
    const int64_t key = key_of(random() % 30'000);
    const bool here = model.contains(key);
    // First the table grows, then it shrinks.
    if (random() % 8 < (i < 70'000 ? 6u : 2u)) {
      if (here) {
        CHECK(index.set(key, i));
      } else {
        index.insert(key, i);
      }
      model[key] = i;
    } else {
      CHECK((index.erase(key) != KeyIndex::kNoRow) == here);
      model.erase(key);
    }
    if (i % 5000 == 77) views.emplace_back(index.view(), model);
    if (i % 20'000 == 99) {
      const size_t gone = random() % views.size();
      CHECK(same(*views[gone].first, views[gone].second));
      views.erase(views.begin() + static_cast<ptrdiff_t>(gone));
    }
    if (i == 100'000) {
      index.clear();
      model.clear();
    }
  }
  CHECK(same(index, model) && kvarn::KeyIndexInspector::sound(index));
  CHECK(views.size() > 10);
  for (const auto& [view, seen] : views) CHECK(same(*view, seen));
}

TEST(a_view_outlives_its_index) {
  auto index = std::make_unique<KeyIndex>();
  const ViewPtr empty = index->view();
  Model model;
  for (uint32_t i = 0; i < 50'000; i++) {
    index->insert(key_of(i), i);
    model[key_of(i)] = i;
  }
  const ViewPtr view = index->view();
  const ViewPtr again = index->view();
  index.reset();
  CHECK(empty->size() == 0 && empty->find(1) == KeyIndex::kNoRow && same(*empty, {}));
  CHECK(same(*view, model) && same(*again, model));
}

TEST(segments_of_a_view_split_its_keys) {
  KeyIndex index;
  for (uint32_t i = 0; i < 100'000; i++) index.insert(key_of(i), i);
  const ViewPtr view = index.view();
  std::vector<int> seen(100'000);
  CHECK(view->segments() > 10);
  for (size_t s = 0; s < view->segments(); s += 3) {
    view->for_each_in(s, std::min(s + 3, view->segments()), [&](int64_t key, uint32_t row) {
      CHECK(key == key_of(row));
      seen[row]++;
    });
  }
  for (const int times : seen) CHECK(times == 1);
}

// Memory that only a view holds is not the index's, and goes with the view.
TEST(bytes_are_those_of_the_index) {
  KeyIndex index;
  for (uint32_t i = 0; i < 600'000; i++) index.insert(key_of(i), i);
  const size_t before = index.bytes();
  {
    const ViewPtr view = index.view();
    for (uint32_t i = 0; i < 600'000; i++) CHECK(index.set(key_of(i), i + 1));
    CHECK(index.bytes() <= before + before / 10 + (2 << 20));
  }
  // Of what came back only a few pieces are kept for use, and used.
  CHECK(index.bytes() <= before + before / 10 + (4 << 20));
  for (uint32_t round = 0; round < 4; round++) {
    const ViewPtr view = index.view();
    for (uint32_t i = 0; i < 600'000; i++) CHECK(index.set(key_of(i), i + round));
    for (uint32_t i = 0; i < 600'000; i++)
      CHECK(view->find(key_of(i)) == (round == 0 ? i + 1 : i + round - 1));
  }
  CHECK(index.bytes() <= before + before / 10 + (4 << 20));
}

// Threads read and drop views while the index changes; its own lock, as the table has one, is around changes
// and around taking views.
TEST(views_on_other_threads) {
  constexpr uint32_t kKeys = 20'000;
  KeyIndex index;
  std::mutex mutex;
  std::atomic<bool> stop = false;
  std::atomic<int> n_wrong = 0, n_views = 0;
  for (uint32_t i = 0; i < kKeys; i++) index.insert(key_of(i), 0);
  // Keys are written in order, so every view has some row v for the keys before one, and v - 1 from there on.
  const auto read = [&] {
    while (!stop.load()) {
      ViewPtr view;
      {
        const std::lock_guard lock(mutex);
        view = index.view();
      }
      const uint32_t first = view->find(key_of(0));
      uint32_t last = first;
      bool right = view->size() >= kKeys;
      for (uint32_t i = 0; i < kKeys; i += 7) {
        const uint32_t row = view->find(key_of(i));
        right = right && (row == last || (row == first - 1 && last == first));
        last = row;
      }
      size_t n = 0;
      view->for_each([&](int64_t, uint32_t) { n++; });
      if (!right || n != view->size()) n_wrong++;
      n_views++;
    }
  };
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; t++) readers.emplace_back(read);
  for (uint32_t version = 1; version <= 12 || n_views.load() < 30; version++) {
    for (uint32_t i = 0; i < kKeys;) {
      const std::lock_guard lock(mutex);
      for (const uint32_t end = i + 500; i < end; i++) index.set(key_of(i), version);
      // Growth and removal elsewhere.
      for (uint32_t k = 0; k < 100; k++) {
        const int64_t key = key_of(kKeys + i + k);
        if (version % 2 == 1 && index.find(key) == KeyIndex::kNoRow) index.insert(key, 1);
        if (version % 2 == 0) index.erase(key);
      }
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(n_wrong.load() == 0);
}

// Sorts keys by piece, works on the pieces on threads, does serially what is left.
void insert_on_threads(KeyIndex& index, const std::vector<int64_t>& keys, uint32_t first_row,
                       size_t n_threads, std::vector<uint32_t>& rows, size_t& n_left) {
  std::vector<std::vector<uint32_t>> pieces(KeyIndex::kPieces);
  for (uint32_t i = 0; i < keys.size(); i++) pieces[KeyIndex::piece_of(keys[i])].push_back(i);
  std::vector<std::vector<int64_t>> keys_of(pieces.size());
  std::vector<std::vector<uint32_t>> rows_of(pieces.size());
  for (size_t p = 0; p < pieces.size(); p++) {
    for (const uint32_t i : pieces[p]) keys_of[p].push_back(keys[i]);
    rows_of[p].resize(pieces[p].size());
  }
  std::vector<KeyIndex::Progress> progress(pieces.size());
  if (index.prepare(keys.size())) {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t p = next++; p < pieces.size(); p = next++) {
        progress[p] = index.find_or_insert_piece(keys_of[p].data(), pieces[p].data(), pieces[p].size(),
                                                 first_row, rows_of[p].data());
      }
    };
    std::vector<std::thread> threads;
    for (size_t t = 0; t < n_threads; t++) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
  }
  for (size_t p = 0; p < pieces.size(); p++) {
    const size_t done = progress[p].done;
    const size_t left = pieces[p].size() - done;
    n_left += left;
    index.find_or_insert_numbered(keys_of[p].data() + done, pieces[p].data() + done, left, first_row,
                                  rows_of[p].data() + done);
    for (size_t i = 0; i < pieces[p].size(); i++) rows[pieces[p][i]] = rows_of[p][i];
  }
}

TEST(pieces_on_threads) {
  std::mt19937_64 random(3);
  KeyIndex index;
  Model model;
  ViewPtr view;
  Model viewed;
  uint32_t first_row = 0;
  size_t n_left = 0;
  for (const size_t n : {1000u, 150'000u, 150'000u, 400'000u}) {
    std::vector<int64_t> keys(n);
    for (int64_t& key : keys) key = key_of(random() % 500'000);
    std::vector<uint32_t> rows(n, KeyIndex::kNoRow);
    n_left = 0;
    insert_on_threads(index, keys, first_row, 3, rows, n_left);
    CHECK((n_left == 0) == (n > 1000));
    for (size_t i = 0; i < n; i++) {
      // A key that was there keeps its row; equal new keys have the row that the first one got.
      const auto [it, is_new] = model.emplace(keys[i], rows[i]);
      CHECK(it->second == rows[i]);
      CHECK(!is_new || rows[i] == first_row + i);
    }
    CHECK(same(index, model) && kvarn::KeyIndexInspector::sound(index));
    // The next round has to copy segments.
    if (n == 150'000) {
      view = index.view();
      viewed = model;
    }
    first_row += static_cast<uint32_t>(n);
  }
  CHECK(same(*view, viewed));
}

// Where the directory was made for fewer keys, threads stop, and the rest is done without them.
TEST(pieces_that_outgrow_the_directory) {
  KeyIndex index;
  std::vector<int64_t> keys;
  for (uint64_t i = 0; i < 600'000; i++) keys.push_back(key_of(i));
  CHECK(!index.prepare(1000) && index.prepare(100'000));
  std::vector<uint32_t> rows(keys.size());
  std::vector<std::vector<uint32_t>> pieces(KeyIndex::kPieces);
  for (uint32_t i = 0; i < keys.size(); i++) pieces[KeyIndex::piece_of(keys[i])].push_back(i);
  size_t n_inserted = 0;
  size_t n_stopped = 0;
  for (const auto& piece : pieces) {
    CHECK(!piece.empty());
    std::vector<int64_t> own;
    for (const uint32_t i : piece) own.push_back(keys[i]);
    std::vector<uint32_t> found(piece.size());
    const auto [done, inserted] =
        index.find_or_insert_piece(own.data(), piece.data(), piece.size(), 5, found.data());
    n_stopped += done < piece.size();
    CHECK(done == inserted);
    n_inserted += inserted + index.find_or_insert_numbered(own.data() + done, piece.data() + done,
                                                           piece.size() - done, 5, found.data() + done);
    for (size_t i = 0; i < piece.size(); i++) rows[piece[i]] = found[i];
  }
  CHECK(n_stopped > 0);
  CHECK(n_inserted == keys.size() && index.size() == keys.size());
  for (uint32_t i = 0; i < keys.size(); i++) CHECK(index.find(keys[i]) == rows[i] && rows[i] == 5 + i);
}

}  // namespace

KVARN_TEST_MAIN

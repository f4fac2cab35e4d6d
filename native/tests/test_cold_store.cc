// Rows on disk: they come back as they were or not at all, and the files are looked after.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "kvarn/engine/cold_store.h"

namespace {

namespace fs = std::filesystem;
using kvarn::Code;
using kvarn::ColdStore;
using kvarn::Status;

constexpr size_t kRecordBytes = 40;                       // a key and four more words
constexpr size_t kOnDisk = kRecordBytes + 4;              // and the checksum
constexpr size_t kPerFile = 64;                           // records
constexpr size_t kFileBytes = kPerFile * kOnDisk + 1000;  // not a whole number of records

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "kvarn_cold_XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::vector<std::string> files(const std::string& suffix) const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().string().ends_with(suffix)) found.push_back(entry.path().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  std::string path;
};

std::unique_ptr<ColdStore> open_in(const std::string& path) {
  std::unique_ptr<ColdStore> store;
  const Status status = ColdStore::open(path, kRecordBytes, kFileBytes, &store);
  if (!status.ok()) std::printf("%s\n", status.message().c_str());
  CHECK(status.ok());
  return store;
}

// What the record of a key is: every byte depends on it.
std::vector<std::byte> record_of(int64_t key) {
  std::vector<std::byte> record(kRecordBytes);
  std::memcpy(record.data(), &key, sizeof key);
  std::mt19937_64 random(static_cast<uint64_t>(key));
  for (size_t i = sizeof key; i < kRecordBytes; i++) record[i] = static_cast<std::byte>(random());
  return record;
}

std::vector<std::byte> records_of(const std::vector<int64_t>& keys) {
  std::vector<std::byte> all;
  for (const int64_t key : keys) {
    const auto record = record_of(key);
    all.insert(all.end(), record.begin(), record.end());
  }
  return all;
}

std::vector<int64_t> from_to(int64_t begin, int64_t end) {
  std::vector<int64_t> keys(static_cast<size_t>(end - begin));
  std::iota(keys.begin(), keys.end(), begin);
  return keys;
}

std::vector<uint32_t> append(ColdStore& store, const std::vector<int64_t>& keys) {
  std::vector<uint32_t> numbers(keys.size());
  const auto records = records_of(keys);
  CHECK(store.append(records.data(), keys.size(), numbers.data()).ok());
  return numbers;
}

template <typename Reader>
bool reads_as(const Reader& reader, const std::vector<uint32_t>& numbers, const std::vector<int64_t>& keys) {
  std::vector<std::byte> out(numbers.size() * kRecordBytes);
  return reader.read(numbers.data(), numbers.size(), out.data()).ok() && out == records_of(keys);
}

TEST(records_come_back_in_the_order_asked_for) {
  const Folder folder;
  const auto store = open_in(folder.path);
  std::vector<int64_t> keys = from_to(-100, 900);
  std::vector<uint32_t> numbers = append(*store, keys);
  CHECK(std::all_of(numbers.begin(), numbers.end(), [](uint32_t n) { return n < ColdStore::kMaxRecords; }));
  CHECK(reads_as(*store, numbers, keys));
  for (size_t i = 0; i < keys.size(); i++) {
    const size_t j = (i * 7919 + 13) % keys.size();
    std::swap(keys[i], keys[j]);
    std::swap(numbers[i], numbers[j]);
  }
  CHECK(reads_as(*store, numbers, keys));
  CHECK(reads_as(*store, {numbers[5], numbers[5], numbers[2], numbers[5]},
                 {keys[5], keys[5], keys[2], keys[5]}));
  CHECK(reads_as(*store, {}, {}));
  const auto stats = store->stats();
  CHECK(stats.live == 1000 && stats.total == 1000 && stats.files == 16 && stats.bytes == 1000 * kOnDisk);
}

TEST(batches_of_every_size_fill_files_to_the_end) {
  const Folder folder;
  const auto store = open_in(folder.path);
  std::vector<int64_t> keys;
  std::vector<uint32_t> numbers;
  for (size_t n = 0; n < 3 * kPerFile; n += 7) {
    const auto more = from_to(static_cast<int64_t>(keys.size()), static_cast<int64_t>(keys.size() + n));
    const auto got = append(*store, more);
    keys.insert(keys.end(), more.begin(), more.end());
    numbers.insert(numbers.end(), got.begin(), got.end());
  }
  CHECK(reads_as(*store, numbers, keys));
  CHECK(store->stats().files == (keys.size() + kPerFile - 1) / kPerFile);
  auto unique = numbers;
  std::sort(unique.begin(), unique.end());
  CHECK(std::adjacent_find(unique.begin(), unique.end()) == unique.end());
}

TEST(files_are_named_as_in_deeprec_and_go_with_the_store) {
  const Folder folder;
  const std::string path = folder.path + "/made/when/missing";
  auto store = open_in(path);
  append(*store, from_to(0, 100));
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  CHECK(names.size() == 3);
  const std::string base = names[0].substr(0, names[0].size() - 5);
  const std::string micros = base.substr(7);
  CHECK(base.starts_with("ssd_kv_") && std::stoll(micros) > 1'700'000'000'000'000 && micros.size() == 16);
  CHECK((names == std::vector<std::string>{base + ".lock", base + "_0000.emb", base + "_0001.emb"}));
  store.reset();
  CHECK(fs::is_empty(path));
}

TEST(a_file_goes_with_its_last_record) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto first = append(*store, from_to(0, kPerFile));
  const auto second = append(*store, from_to(1000, 1000 + 2 * kPerFile));
  CHECK(folder.files(".emb").size() == 3);
  store->release(first.data(), first.size());
  store->release(first.data(), first.size());  // again, of a file that is gone: nothing
  CHECK(folder.files(".emb").size() == 2);
  // The slot is used again, with the old numbers.
  const auto third = append(*store, from_to(5000, 5000 + kPerFile));
  CHECK(third == first);
  CHECK(reads_as(*store, third, from_to(5000, 5000 + kPerFile)));
  CHECK(reads_as(*store, second, from_to(1000, 1000 + 2 * kPerFile)));
  store->release_all();
  CHECK(folder.files(".emb").empty());
  CHECK(store->stats().live == 0 && store->stats().total == 0);
  CHECK(reads_as(*store, append(*store, {7}), {7}));
}

TEST(a_file_released_while_it_was_the_last_goes_too) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto first = append(*store, from_to(0, kPerFile));
  store->release(first.data(), first.size());
  CHECK(folder.files(".emb").size() == 1);
  append(*store, {1});
  CHECK(folder.files(".emb").size() == 1);
  CHECK(store->stats().live == 1 && store->stats().total == 1);
}

TEST(compaction_moves_what_is_live_and_gives_the_disk_back) {
  const Folder folder;
  const auto store = open_in(folder.path);
  std::map<int64_t, uint32_t> index;
  const auto keys = from_to(0, 20 * kPerFile);
  const auto numbers = append(*store, keys);
  bool more = false;
  const auto refuse = [](int64_t, uint32_t, uint32_t) { return false; };
  CHECK(store->compact(1000, refuse, &more).ok() && !more);
  for (size_t i = 0; i < keys.size(); i++) {
    if (i % 3 == 0) {
      index[keys[i]] = numbers[i];
    } else {
      store->release(&numbers[i], 1);
    }
  }
  size_t calls = 0;
  do {
    size_t moved = 0;
    CHECK(store
              ->compact(
                  10,
                  [&](int64_t key, uint32_t from, uint32_t to) {
                    CHECK(index.at(key) == from);
                    // The old record can still be read: its file goes later.
                    CHECK(reads_as(*store, {from, to}, {key, key}));
                    index[key] = to;
                    moved++;
                    return true;
                  },
                  &more)
              .ok());
    CHECK(moved <= 10);
    calls++;
  } while (more && calls < 1000);
  CHECK(calls > 10 && calls < 1000);
  const auto stats = store->stats();
  CHECK(stats.live == index.size());
  CHECK(stats.total - stats.live <= stats.total / 3);
  CHECK(folder.files(".emb").size() == stats.files);
  for (const auto& [key, number] : index) CHECK(reads_as(*store, {number}, {key}));
}

TEST(what_nobody_refers_to_any_more_is_released_by_compaction) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto numbers = append(*store, from_to(0, 3 * kPerFile));
  store->release(numbers.data(), kPerFile / 2);
  bool more = true;
  // Nothing to do: less than a third is gone.
  CHECK(store->compact(1000, [](int64_t, uint32_t, uint32_t) { return true; }, &more).ok() && !more);
  store->release(numbers.data() + kPerFile, kPerFile - 1);
  CHECK(store->compact(1000, [](int64_t, uint32_t, uint32_t) { return false; }, &more).ok());
  CHECK(store->stats().live == 3 * kPerFile - kPerFile / 2 - kPerFile);
}

TEST(views_outlive_release_compaction_and_the_store) {
  const Folder folder;
  auto store = open_in(folder.path);
  const auto keys = from_to(0, 10 * kPerFile);
  const auto numbers = append(*store, keys);
  const auto view = store->view();
  store->release(numbers.data(), 9 * kPerFile);
  append(*store, from_to(5000, 5000 + 5 * kPerFile));
  bool more = true;
  while (more) {
    CHECK(store->compact(100, [](int64_t, uint32_t, uint32_t) { return true; }, &more).ok());
  }
  CHECK(reads_as(*view, numbers, keys));
  store.reset();
  CHECK(fs::is_empty(folder.path));
  CHECK(reads_as(*view, numbers, keys));
}

TEST(damage_is_data_loss_and_names_the_file) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto keys = from_to(0, kPerFile);
  const auto numbers = append(*store, keys);
  const std::string file = folder.files(".emb").at(0);
  std::vector<std::byte> out(kRecordBytes);
  for (const size_t byte : {size_t{0}, size_t{9}, kRecordBytes - 1, kRecordBytes, kOnDisk - 1}) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto at = static_cast<std::streamoff>(5 * kOnDisk + byte);
    stream.seekg(at);
    const char old = static_cast<char>(stream.get());
    stream.seekp(at);
    stream.put(static_cast<char>(old ^ 4));
    stream.flush();
    const Status status = store->read(&numbers[5], 1, out.data());
    CHECK(status.code() == Code::kDataLoss);
    CHECK(status.message().find(file) != std::string::npos);
    CHECK(reads_as(*store, {numbers[4], numbers[6]}, {4, 6}));
    stream.seekp(at);
    stream.put(old);
  }
  CHECK(reads_as(*store, numbers, keys));
}

TEST(a_whole_record_in_the_wrong_place_is_data_loss) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto numbers = append(*store, from_to(0, 2 * kPerFile));
  const auto files = folder.files(".emb");
  std::vector<char> record(kOnDisk);
  std::ifstream(files.at(0), std::ios::binary).read(record.data(), static_cast<std::streamsize>(kOnDisk));
  std::vector<std::byte> out(kRecordBytes);
  for (const auto& [file, place] : {std::pair{files.at(0), size_t{1}}, std::pair{files.at(1), size_t{0}}}) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekp(static_cast<std::streamoff>(place * kOnDisk));
    stream.write(record.data(), static_cast<std::streamsize>(kOnDisk));
  }
  CHECK(store->read(&numbers[1], 1, out.data()).code() == Code::kDataLoss);
  CHECK(store->read(&numbers[kPerFile], 1, out.data()).code() == Code::kDataLoss);
}

TEST(a_torn_file_is_data_loss) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto numbers = append(*store, from_to(0, kPerFile));
  const std::string file = folder.files(".emb").at(0);
  fs::resize_file(file, 10 * kOnDisk + 3);
  std::vector<std::byte> out(kPerFile * kRecordBytes);
  CHECK(store->read(&numbers[10], 1, out.data()).code() == Code::kDataLoss);
  CHECK(store->read(numbers.data(), kPerFile, out.data()).code() == Code::kDataLoss);
  CHECK(reads_as(*store, {numbers[9]}, {9}));
  fs::resize_file(file, kPerFile * kOnDisk);  // zeros
  CHECK(store->read(&numbers[10], 1, out.data()).code() == Code::kDataLoss);
}

TEST(a_damaged_file_is_reported_by_compaction_once_and_kept) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto numbers = append(*store, from_to(0, 3 * kPerFile));
  store->release(numbers.data(), kPerFile - 2);
  store->release(numbers.data() + kPerFile, kPerFile - 2);
  const std::string file = folder.files(".emb").at(0);
  fs::resize_file(file, (kPerFile - 1) * kOnDisk);
  std::vector<uint32_t> moved;
  const auto note = [&](int64_t, uint32_t from, uint32_t) {
    moved.push_back(from);
    return true;
  };
  size_t errors = 0;
  bool more = true;
  for (int i = 0; i < 10; i++) errors += store->compact(100, note, &more).ok() ? 0u : 1u;
  CHECK(errors == 1 && !more);
  // The file that is whole was compacted, the record that can still be read is where it was.
  CHECK((moved == std::vector<uint32_t>{numbers[2 * kPerFile - 2], numbers[2 * kPerFile - 1]}));
  CHECK(reads_as(*store, {numbers[kPerFile - 2]}, {kPerFile - 2}));
}

TEST(a_full_disk_takes_nothing) {
  std::signal(SIGXFSZ, SIG_IGN);
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto before = append(*store, from_to(0, 10));
  rlimit old;
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit small = {20 * kOnDisk + 7, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  std::vector<uint32_t> numbers(4 * kPerFile, 77);
  const auto records = records_of(from_to(100, 100 + 4 * kPerFile));
  const Status status = store->append(records.data(), 4 * kPerFile, numbers.data());
  CHECK(status.code() == Code::kResourceExhausted);
  CHECK(status.message().find(folder.path) != std::string::npos);
  CHECK(status.message().find("errno") != std::string::npos);
  CHECK(numbers == std::vector<uint32_t>(4 * kPerFile, 77));
  CHECK(store->stats().live == 10 && store->stats().files == 1);
  const auto fits = append(*store, from_to(200, 210));
  // The next file fails: it does not stay.
  ::setrlimit(RLIMIT_FSIZE, &old);
  append(*store, from_to(300, 300 + kPerFile - 20));
  ::setrlimit(RLIMIT_FSIZE, &small);
  CHECK(!store->append(records.data(), 4 * kPerFile, numbers.data()).ok());
  CHECK(folder.files(".emb").size() == 1);
  ::setrlimit(RLIMIT_FSIZE, &old);
  CHECK(reads_as(*store, before, from_to(0, 10)));
  CHECK(reads_as(*store, fits, from_to(200, 210)));
  CHECK(reads_as(*store, append(*store, from_to(100, 400)), from_to(100, 400)));
}

TEST(a_folder_that_cannot_be_is_an_error) {
  const Folder folder;
  std::ofstream(folder.path + "/file") << "x";
  std::unique_ptr<ColdStore> store;
  const Status status = ColdStore::open(folder.path + "/file/sub", kRecordBytes, kFileBytes, &store);
  CHECK(status.code() == Code::kInternal);
  CHECK(status.message().find("/file/sub") != std::string::npos);
  CHECK(ColdStore::open(folder.path, 7, kFileBytes, &store).code() == Code::kInvalidArgument);
}

TEST(a_store_without_records_has_no_files) {
  const Folder folder;
  const auto store = open_in(folder.path);
  CHECK(fs::is_empty(folder.path));
  CHECK(store->append(nullptr, 0, nullptr).ok());
  CHECK(fs::is_empty(folder.path));
}

TEST(more_files_than_a_process_is_given_at_first_can_be_open) {
  rlimit old;
  ::getrlimit(RLIMIT_NOFILE, &old);
  const rlimit few = {40, old.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &few);
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto keys = from_to(0, 60 * kPerFile);
  CHECK(reads_as(*store, append(*store, keys), keys));
  ::setrlimit(RLIMIT_NOFILE, &old);
  if (old.rlim_max <= 1000) return;
  // No more than that: nothing is taken.
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit least = {100, 100};
    ::setrlimit(RLIMIT_NOFILE, &least);
    bool good = false;
    {
      const Folder other;
      const auto another = open_in(other.path);
      const auto records = records_of(keys);
      std::vector<uint32_t> numbers(keys.size());
      const Status status = another->append(records.data(), keys.size(), numbers.data());
      good = status.code() == Code::kResourceExhausted && another->stats().files == 0 &&
             other.files(".emb").empty();
    }
    ::_exit(good ? 0 : 1);
  }
  int outcome = -1;
  ::waitpid(child, &outcome, 0);
  CHECK(outcome == 0);
}

TEST(a_number_that_was_never_given_is_an_error) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const uint32_t number = 5;
  std::vector<std::byte> out(kRecordBytes);
  CHECK(!store->read(&number, 1, out.data()).ok());
  append(*store, {1});
  CHECK(!store->read(&number, 1, out.data()).ok());
}

TEST(what_a_killed_process_left_is_removed_and_nothing_else) {
  const Folder folder;
  const auto other = open_in(folder.path);  // lives on in the same folder
  const auto numbers = append(*other, from_to(0, 2 * kPerFile));
  const std::string foreign = folder.path + "/ssd_kv_1234_0000.emb";  // no lock: not ours
  std::ofstream(foreign) << "foreign";
  std::ofstream(folder.path + "/ssd_kv_.lock") << "x";
  std::ofstream(folder.path + "/ssd_kv_x1.lock") << "x";
  int ready[2];
  CHECK(::pipe(ready) == 0);
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = open_in(folder.path);
    append(*store, from_to(0, 3 * kPerFile));
    CHECK(::write(ready[1], "x", 1) == 1);
    for (;;) ::pause();
  }
  char byte;
  CHECK(::read(ready[0], &byte, 1) == 1);
  CHECK(folder.files(".emb").size() == 2 + 3 + 1);
  // It lives: its files stay.
  append(*open_in(folder.path), {1});
  CHECK(folder.files(".emb").size() == 2 + 3 + 1);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  CHECK(folder.files(".emb").size() == 2 + 3 + 1);
  const auto store = open_in(folder.path);
  CHECK(folder.files(".emb").size() == 2 + 1);
  CHECK(folder.files(".lock").size() == 1 + 2);
  CHECK(fs::exists(foreign));
  CHECK(reads_as(*other, numbers, from_to(0, 2 * kPerFile)));
}

TEST(a_forked_process_writes_files_of_its_own_and_leaves_the_parents) {
  const Folder folder;
  auto store = open_in(folder.path);
  const auto numbers = append(*store, from_to(0, 10));
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto more = append(*store, from_to(100, 110));
    bool good = reads_as(*store, numbers, from_to(0, 10)) && reads_as(*store, more, from_to(100, 110));
    good = good && folder.files(".emb").size() == 2;
    store->release_all();
    good = good && folder.files(".emb").size() == 1;
    store.reset();
    good = good && folder.files(".lock").size() == 1;
    ::_exit(good ? 0 : 1);
  }
  int outcome = -1;
  ::waitpid(child, &outcome, 0);
  CHECK(outcome == 0);
  CHECK(reads_as(*store, numbers, from_to(0, 10)));
  CHECK(reads_as(*store, append(*store, from_to(20, 30)), from_to(20, 30)));
}

TEST(stores_of_one_folder_do_not_touch_each_other) {
  const Folder folder;
  std::vector<std::unique_ptr<ColdStore>> stores(8);
  std::vector<std::vector<uint32_t>> numbers(stores.size());
  std::vector<std::thread> threads;
  for (size_t s = 0; s < stores.size(); s++) {
    threads.emplace_back([&, s] {
      const auto at = static_cast<int64_t>(1000 * s);
      for (int round = 0; round < 5; round++) {
        stores[s] = open_in(folder.path);
        numbers[s] = append(*stores[s], from_to(at, at + 100));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (size_t s = 0; s < stores.size(); s++) {
    const auto at = static_cast<int64_t>(1000 * s);
    CHECK(reads_as(*stores[s], numbers[s], from_to(at, at + 100)));
  }
  CHECK(folder.files(".lock").size() == stores.size());
}

TEST(readers_beside_appends_releases_and_compaction) {
  const Folder folder;
  const auto store = open_in(folder.path);
  const auto kept_keys = from_to(0, 500);
  std::vector<uint32_t> kept(kept_keys.size());
  std::map<int64_t, uint32_t> index;
  std::mutex mutex;  // the table's lock: who holds it sees numbers that are not released
  const auto numbers = append(*store, kept_keys);
  for (size_t i = 0; i < numbers.size(); i++) index[kept_keys[i]] = numbers[i];
  std::atomic<bool> stop = false;
  std::atomic<bool> good = true;
  std::atomic<int> rounds = 0;
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; t++) {
    readers.emplace_back([&] {
      while (!stop) {
        std::vector<int64_t> keys;
        std::vector<uint32_t> at;
        std::shared_ptr<const kvarn::ColdView> view;
        {
          const std::lock_guard lock(mutex);
          for (const auto& [key, number] : index) {
            keys.push_back(key);
            at.push_back(number);
          }
          view = store->view();
          if (!reads_as(*store, at, keys)) good = false;
        }
        if (!reads_as(*view, at, keys)) good = false;
        rounds++;
      }
    });
  }
  const auto took = [&](int64_t key, uint32_t from, uint32_t to) {
    if (index.at(key) != from) return false;
    index[key] = to;
    return true;
  };
  for (int i = 0; i < 60 || (rounds < 4 && i < 6000); i++) {
    const auto passing = append(*store, from_to(10000, 10000 + 150));
    store->release(passing.data(), passing.size());
    std::vector<int64_t> again;
    for (int64_t key = i % 7; key < 500; key += 7) again.push_back(key);
    const auto rewritten = append(*store, again);
    const std::lock_guard lock(mutex);
    for (size_t j = 0; j < again.size(); j++) {
      const uint32_t old = std::exchange(index[again[j]], rewritten[j]);
      store->release(&old, 1);
    }
    bool more;
    if (!store->compact(64, took, &more).ok()) good = false;
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  CHECK(good && rounds > 0);
  CHECK(store->stats().live == 500);
}

}  // namespace

KVARN_TEST_MAIN

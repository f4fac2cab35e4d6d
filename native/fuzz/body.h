// The one body that each fuzz_*.cc has: libFuzzer calls it (KVARN_FUZZ), and replay.cc with the corpora
// (KVARN_TESTS), so that what was found once is tried again wherever the tests run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

// Ends the process where a promise is broken; also in builds without assertions.
#define PROMISE(condition)                                                                 \
  do {                                                                                     \
    if (!(condition)) {                                                                    \
      std::fprintf(stderr, "%s:%d: promise broken: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)

namespace kvarn::fuzz {

// Any bytes whatever; to be refused or parsed, in memory of a small multiple of their number.
void body(std::span<const unsigned char> data);

}  // namespace kvarn::fuzz

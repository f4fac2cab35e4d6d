// The smallest test kit: CHECK prints what did not hold and where, and the program fails at its end.
//
//   TEST(name) { CHECK(1 + 1 == 2); }
//   KVARN_TEST_MAIN
#pragma once

#include <cstdio>
#include <string>
#include <vector>

namespace kvarn::testing {

struct Test {
  const char* name;
  void (*body)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

inline int failures = 0;

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

inline int run_all() {
  for (const Test& test : tests()) {
    const int before = failures;
    test.body();
    std::printf("%-4s %s\n", failures == before ? "ok" : "FAIL", test.name);
  }
  return failures == 0 && !tests().empty() ? 0 : 1;
}

}  // namespace kvarn::testing

#define TEST(name)                                                    \
  static void name();                                                 \
  static const kvarn::testing::Register register_##name(#name, name); \
  static void name()

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) {                                                     \
      std::printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      kvarn::testing::failures++;                                           \
    }                                                                       \
  } while (false)

#define KVARN_TEST_MAIN \
  int main() { return kvarn::testing::run_all(); }

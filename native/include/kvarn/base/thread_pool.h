// One persistent pool for the whole process.
//
// The calling thread always takes part, so a call makes progress even when every worker is busy or (after a
// fork) gone. Results must not depend on how the range is split.
#pragma once

#include <cstddef>
#include <functional>

namespace kvarn {

// Threads that work on one call, the caller included. Default: the processors this process may use.
void set_num_threads(int n);
int num_threads();

// fn(begin, end) over disjoint pieces that cover [0, n), each at least `grain` long (but the last).
// Serial when n <= grain, when one thread is set, or inside another parallel_for. fn must not throw.
void parallel_for(size_t n, size_t grain, const std::function<void(size_t, size_t)>& fn);

}  // namespace kvarn

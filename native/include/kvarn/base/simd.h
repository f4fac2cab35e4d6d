// KVARN_SIMD: the compiler emits the function once per instruction set and the loader picks the best one.
#pragma once

#include <cstddef>  // defines __GLIBC__, whose loader runs the resolvers

// The sanitizers' runtimes are not up when the loader runs the resolvers, so they get the plain function.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__) && \
    !defined(KVARN_SANITIZED)
#define KVARN_SIMD __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define KVARN_SIMD
#endif

#define KVARN_PREFETCH(address) __builtin_prefetch(address)
#define KVARN_PREFETCH_WRITE(address) __builtin_prefetch(address, 1)

// In a loop that waits for another processor.
#if defined(__x86_64__)
#define KVARN_PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define KVARN_PAUSE() asm volatile("yield")
#else
#define KVARN_PAUSE() (void)0
#endif

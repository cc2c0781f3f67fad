// Numbers below the normal ones (1e-38 in float32) count as zero while a `Flush` is there. Momenta of
// what has no gradient any more fade through them, as do gradients of a network that has learned its
// samples by heart, and a processor takes a hundred times as long.
#pragma once

#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace nfn {

// For the thread that it is made in, which has its own way again afterwards.
class Flush {
 public:
  Flush() : before_(mode()) { set(before_ | ZERO); }
  ~Flush() { set(before_); }
  Flush(const Flush&) = delete;
  Flush& operator=(const Flush&) = delete;

 private:
#if defined(__SSE__)
  static constexpr uint64_t ZERO = 0x8000;  // results alone: gradients are read as they are
  static uint64_t mode() { return _mm_getcsr(); }
  static void set(uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
  static constexpr uint64_t ZERO = 1 << 24;
  static uint64_t mode() {
    uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set(uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
  static constexpr uint64_t ZERO = 0;
  static uint64_t mode() { return 0; }
  static void set(uint64_t) {}
#endif

  uint64_t before_;
};

}  // namespace nfn

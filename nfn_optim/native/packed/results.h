// Where results are written: small ones as they are, large ones past the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "registers.h"

namespace nfn {

constexpr long LARGE = 1 << 21;  // bytes of results that are not kept in the cache: a page

// The memory of results.
class Results {
 public:
  Results(float* begin, long count)
      : begin_(begin), is_large_(count * long(sizeof(float)) >= LARGE) {
    if (is_large_) enlarge_pages(count);
  }

  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  ~Results() {
#if defined(__AVX__)
    _mm_sfence();  // other threads see what went past the cache
#endif
  }

  float* at(long place) const { return begin_ + place; }
  bool is_large() const { return is_large_; }

  // Whether rows are whole registers.
  bool has_registers(long width) const {
    return width % LANES == 0 && reinterpret_cast<uintptr_t>(begin_) % sizeof(Vec) == 0;
  }

 private:
  // The first touch of a page takes time, so that new memory had better come in large ones.
  void enlarge_pages(long count) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t first = reinterpret_cast<uintptr_t>(begin_) / LARGE * LARGE;
    const uintptr_t size = reinterpret_cast<uintptr_t>(begin_ + count) - first;
    madvise(reinterpret_cast<void*>(first), size, MADV_HUGEPAGE);
#endif
  }

  float* begin_;
  bool is_large_;
};

// Writes one after another. If a piece has a size, pieces have that at most, and go past the cache:
// they wait until there are whole registers.
class Writer {
 public:
  Writer(float* to, long piece) : to_(to), waiting_(piece ? 2 * piece + LANES : 0) {}

  ~Writer() { std::copy_n(waiting_.data(), count_, to_); }

  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Where to write the next `n`.
  float* next(long n) {
    if (waiting_.empty()) return (to_ += n) - n;
    if (count_ + n > static_cast<long>(waiting_.size())) flush();
    return waiting_.data() + (count_ += n) - n;
  }

 private:
  void flush() {
    const long head = -reinterpret_cast<uintptr_t>(to_) / sizeof(float) % LANES;
    const long done = head + (count_ - head) / LANES * LANES;
    std::copy_n(waiting_.data(), head, to_);
    for (long i = head; i < done; i += LANES) stream(to_ + i, load(waiting_.data() + i));
    std::copy(waiting_.data() + done, waiting_.data() + count_, waiting_.data());
    to_ += done, count_ -= done;
  }

  float* to_;
  std::vector<float> waiting_;
  long count_ = 0;
};

}  // namespace nfn

// Where results are written: small ones as they are, large ones past the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "lanes.h"

namespace nfn {

constexpr long LARGE = 1 << 21;  // bytes of results that are not kept in the cache: a page

// Copies whole registers past the cache, whose lines would be read before they are written.
inline void stream(const float* from, float* to, long n) {
  for (long i = 0; i < n; i += LANES) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to + i, (__m512)load(from + i));
#elif defined(__AVX__)
    _mm256_stream_ps(to + i, (__m256)load(from + i));
#else
    store(to + i, load(from + i));
#endif
  }
}

// The memory of results.
class Memory {
 public:
  Memory(float* begin, long count) : begin_(begin), is_large_(count * long(sizeof(float)) >= LARGE) {
    if (is_large_) enlarge_pages(count);
  }

  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  ~Memory() {
#if defined(__AVX__)
    _mm_sfence();  // other threads see what went past the cache
#endif
  }

  float* at(long place) const { return begin_ + place; }
  bool is_large() const { return is_large_; }

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

// Writes from some place of the memory on.
class Writer {
 public:
  Writer(const Memory& memory, long place, long most)
      : to_(memory.at(place)), buffer_(memory.is_large() ? 2 * most + LANES : 0) {}

  ~Writer() { std::copy_n(buffer_.data(), filled_, to_); }

  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Where the next `n` are to be written, `most` at most.
  float* next(long n) {
    if (buffer_.empty()) return std::exchange(to_, to_ + n);
    if (filled_ + n > static_cast<long>(buffer_.size())) flush();
    return buffer_.data() + std::exchange(filled_, filled_ + n);
  }

 private:
  // Whole cache lines.
  void flush() {
    const long head = -reinterpret_cast<uintptr_t>(to_) / sizeof(float) % LANES;
    const long whole = (filled_ - head) / LANES * LANES, left = filled_ - head - whole;
    std::copy_n(buffer_.data(), head, to_);
    stream(buffer_.data() + head, to_ + head, whole);
    std::copy_n(buffer_.data() + head + whole, left, buffer_.data());
    to_ += head + whole, filled_ = left;
  }

  float* to_;
  std::vector<float> buffer_;
  long filled_ = 0;
};

}  // namespace nfn

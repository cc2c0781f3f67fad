// Memory that is asked for at every step: in large pages, since the first touch of a page takes time.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nfn {

// Floats of any value.
class Buffer {
 public:
  Buffer() = default;

  explicit Buffer(long count) {
    constexpr size_t PAGE = 1 << 21, LINE = 64;
    const size_t bytes = count * sizeof(float), unit = bytes < PAGE ? LINE : PAGE;
    const size_t size = (bytes + unit - 1) / unit * unit;
    data_.reset(static_cast<float*>(std::aligned_alloc(unit, size)));
    if (!data_ && size) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
    if (unit == PAGE) madvise(data_.get(), size, MADV_HUGEPAGE);
#endif
  }

  float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };

  std::unique_ptr<float, Free> data_;
};

}  // namespace nfn

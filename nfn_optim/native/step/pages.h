// Large blocks of memory, in large pages: the first touch of a page takes time.
#pragma once

#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nfn {

// So many bytes of any value, which `std::free` gives back.
inline void* take_pages(size_t bytes) {
  constexpr size_t PAGE = 1 << 21, LINE = 64;
  const size_t unit = bytes < PAGE ? LINE : PAGE, size = (bytes + unit - 1) / unit * unit;
  void* block = std::aligned_alloc(unit, size);
  if (!block && size) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (unit == PAGE) madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}

}  // namespace nfn

// Memory of small matrices, which come and go by the hundred in a step. All threads share what is kept,
// since one may make what another one gives back.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

#include "pages.h"

namespace nfn {

class Pool {
 public:
  static constexpr size_t LARGEST = 1 << 22;  // bytes; larger blocks are not kept

  static Pool& shared() {
    static Pool* const pool = new Pool;  // threads may outlive what is destroyed in the end
    return *pool;
  }

  void* take(size_t bytes) {
    const int order = order_of(bytes);
    if (order < 0) return take_pages(bytes);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!free_[order].empty()) {
        void* block = free_[order].back();
        free_[order].pop_back();
        return block;
      }
    }
    return ::operator new(size_t(64) << order);
  }

  void put_back(void* block, size_t bytes) {
    const int order = order_of(bytes);
    if (order < 0) return std::free(block);
    try {
      const std::lock_guard<std::mutex> lock(mutex_);
      free_[order].push_back(block);
    } catch (...) {  // destructors do not throw
      ::operator delete(block);
    }
  }

 private:
  static int order_of(size_t bytes) {
    if (bytes > LARGEST) return -1;
    int order = 0;
    while ((size_t(64) << order) < bytes) ++order;
    return order;
  }

  std::mutex mutex_;
  std::vector<void*> free_[17];  // of 64 bytes, 128, ... up to the largest
};

// What containers take it with.
template <class T>
struct Pooled {
  using value_type = T;
  Pooled() = default;
  template <class U>
  Pooled(const Pooled<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(Pool::shared().take(n * sizeof(T))); }
  void deallocate(T* at, size_t n) { Pool::shared().put_back(at, n * sizeof(T)); }
  template <class U>
  bool operator==(const Pooled<U>&) const { return true; }
  template <class U>
  bool operator!=(const Pooled<U>&) const { return false; }
};

}  // namespace nfn

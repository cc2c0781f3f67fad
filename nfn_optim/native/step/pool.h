// Memory of small matrices, which come and go by the hundred in a step: kept by each thread.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace nfn {

class Pool {
 public:
  static constexpr size_t LARGEST = 1 << 22;  // bytes; larger blocks are not kept

  ~Pool() {
    for (const std::vector<void*>& blocks : free_) {
      for (void* block : blocks) ::operator delete(block);
    }
  }

  static Pool& own() {
    static thread_local Pool pool;
    return pool;
  }

  void* take(size_t bytes) {
    const int order = order_of(bytes);
    if (order < 0) return ::operator new(bytes);
    if (free_[order].empty()) return ::operator new(size_t(64) << order);
    void* block = free_[order].back();
    free_[order].pop_back();
    return block;
  }

  void put_back(void* block, size_t bytes) {
    const int order = order_of(bytes);
    if (order < 0) return ::operator delete(block);
    try {
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

  std::vector<void*> free_[17];  // of 64 bytes, 128, ... up to the largest
};

// What containers take it with.
template <class T>
struct Pooled {
  using value_type = T;
  Pooled() = default;
  template <class U>
  Pooled(const Pooled<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(Pool::own().take(n * sizeof(T))); }
  void deallocate(T* at, size_t n) { Pool::own().put_back(at, n * sizeof(T)); }
  template <class U>
  bool operator==(const Pooled<U>&) const { return true; }
  template <class U>
  bool operator!=(const Pooled<U>&) const { return false; }
};

}  // namespace nfn

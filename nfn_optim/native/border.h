// What C++ throws does not leave it: threads pass it on to the one that waits for them, and functions
// for Python say what kind it was.
#pragma once

#include <exception>
#include <new>
#include <stdexcept>

namespace nfn {

// What functions for Python return; `_loader.py` knows the numbers.
enum Outcome { DONE, NO_MEMORY, FAILED };

// The kind of what is being caught.
inline int outcome() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  } catch (const std::length_error&) {  // more than any memory
    return NO_MEMORY;
  } catch (...) {
    return FAILED;
  }
}

// The first exception of several threads, none of which may let one out by itself.
class Caught {
 public:
  template <class F>
  void run(F f) {
    try {
      f();
    } catch (...) {
#pragma omp critical
      if (!first_) first_ = std::current_exception();
    }
  }

  void pass_on() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::exception_ptr first_;
};

}  // namespace nfn

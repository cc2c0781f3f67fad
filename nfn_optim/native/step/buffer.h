// Memory that is asked for at every step.
#pragma once

#include <cstdlib>
#include <memory>

#include "pages.h"

namespace nfn {

// Floats of any value.
class Buffer {
 public:
  Buffer() = default;

  explicit Buffer(long count) : data_(static_cast<float*>(take_pages(count * sizeof(float)))) {}

  float* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* data) const { std::free(data); }
  };

  std::unique_ptr<float, Free> data_;
};

}  // namespace nfn

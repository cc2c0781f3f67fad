// Pieces of work that threads take as they come.
#pragma once

#include "border.h"
#include "flush.h"

namespace nfn {

// `f(i)` for all `i` up to `count`, on so many threads.
template <class F>
inline void in_parallel(long count, int threads, F f) {
  Caught caught;
#pragma omp parallel for num_threads(threads) if (threads > 1 && count > 1) schedule(dynamic, 1)
  for (long i = 0; i < count; ++i) {
    caught.run([&] {
      const Flush flush;
      f(i);
    });
  }
  caught.pass_on();
}

}  // namespace nfn

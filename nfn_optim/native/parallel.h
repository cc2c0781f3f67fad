// Pieces of work that threads take as they come, all of them with numbers below the normal ones as
// zero.
#pragma once

#include "border.h"
#include "flush.h"

namespace nfn {

// `f(i)` for all `i` up to `count`, on so many threads; the calling one has its `Flush` already.
template <class F>
inline void in_parallel(long count, int threads, F f) {
  if (threads <= 1 || count <= 1) {
    for (long i = 0; i < count; ++i) f(i);
    return;
  }
  Caught caught;
#pragma omp parallel num_threads(threads)
  {
    const Flush flush;
#pragma omp for schedule(dynamic, 1)
    for (long i = 0; i < count; ++i) caught.run([&] { f(i); });
  }
  caught.pass_on();
}

}  // namespace nfn

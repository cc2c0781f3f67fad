// The two products that convolutions consist of.
#pragma once

#include "geometry.h"
#include "maps.h"
#include "tiles.h"

namespace nfn {

constexpr long TILE = 6;                    // results, or taps, whose sums stay in registers
constexpr long SIDE = LANES == 16 ? 4 : 2;  // outputs, for which each of the taps has a sum
constexpr long BLOCK = 48;                  // places that are read again while they are near

// Registers of samples, `V` of them, each with a map of its own.
struct Maps {
  Vec* first;
  long size;

  Vec* operator[](long v) const { return first + v * size; }
};

// Of every place the results `(result, place)`, which are `start` and what it reads, weighted.
template <long V>
inline void gather(const Reads& reads, Maps from, const float* weight, long results,
                   const float* start, bool is_rectified, Maps to) {
  const long places = reads.places(), plane = from.size;
  even_tiles<TILE>(results, [&](auto size, long r) {
    constexpr long R = decltype(size)::value;
    for (long p = 0; p < places; ++p) {
      Vec sums[R][V];
      for (long i = 0; i < R; ++i) {
        for (long v = 0; v < V; ++v) sums[i][v] = start ? all(start[r + i]) : Vec{};
      }
      for (long n = reads.begin[p]; n < reads.begin[p + 1]; ++n) {
        const Run& run = reads.runs[n];
        const Vec* x = from.first + run.source;
        const float* w = weight + run.row * results + r;
        for (long t = 0; t < run.length; ++t, ++x, w += results) {
#pragma GCC unroll 8
          for (long i = 0; i < R; ++i) {
            for (long v = 0; v < V; ++v) sums[i][v] += w[i] * x[v * plane];
          }
        }
      }
      for (long i = 0; i < R; ++i) {
        for (long v = 0; v < V; ++v) {
          to[v][(r + i) * places + p] = is_rectified ? rectified(sums[i][v]) : sums[i][v];
        }
      }
    }
  });
}

// Adds to `(tap, output)` the products of what a place reads and of its adjoint, sample by sample.
// `x` are samples with a frame and `g` adjoints.
inline void correlate(const Geometry& s, const std::vector<long>& windows, const Vec* x,
                      const Vec* g, Vec* sums) {
  const long length = s.kernel_width * s.channels, row = s.framed_width() * s.channels;
  for (long begin = 0; begin < s.places; begin += BLOCK) {
    const long end = std::min(begin + BLOCK, s.places);
    for (long y = 0; y < s.kernel_height; ++y) {
      even_tiles<TILE>(length, [&](auto size, long t) {
        even_tiles<SIDE>(s.outs, [&](auto side, long o) {
          constexpr long T = decltype(size)::value, O = decltype(side)::value;
          Vec part[T][O] = {};
          const Vec *from = x + y * row + t, *adjoint = g + begin * s.outs + o;
          for (long p = begin; p < end; ++p, adjoint += s.outs) {
            const Vec* at = from + windows[p];
            Vec factor[O];
#pragma GCC unroll 4
            for (long j = 0; j < O; ++j) factor[j] = adjoint[j];
#pragma GCC unroll 8
            for (long i = 0; i < T; ++i) {
              const Vec tap = at[i];
#pragma GCC unroll 4
              for (long j = 0; j < O; ++j) part[i][j] += tap * factor[j];
            }
          }
          for (long i = 0; i < T; ++i) {
            for (long j = 0; j < O; ++j) sums[(y * length + t + i) * s.outs + o + j] += part[i][j];
          }
        });
      });
    }
  }
}

}  // namespace nfn

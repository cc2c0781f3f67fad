// Where a convolution reads, and in which order its numbers are laid out for that.
//
// Inside, samples lie innermost, in whole registers: maps are `(row, column, channel)` of registers,
// kernels `(row, column, channel, output)` of numbers and, for the way back, `(row, column, output,
// channel)`. So few channels fill registers as well as many, at any stride.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace nfn {

// As the Python side writes it.
struct Shape {
  int64_t networks, samples, channels, height, width, outs, kernel_height, kernel_width, stride,
      padding;
};

// What lies together of all that a place reads: registers of a map, and rows of a kernel.
struct Run {
  long source, row, length;
};

// The runs of all places: those of place `p` begin at `begin[p]` and end at `begin[p + 1]`.
struct Reads {
  std::vector<Run> runs;
  std::vector<long> begin = {0};

  long places() const { return begin.size() - 1; }
};

struct Geometry : Shape {
  long out_height, out_width, area, places, kernel;

  explicit Geometry(const Shape& s)
      : Shape(s), out_height((height + 2 * padding - kernel_height) / stride + 1),
        out_width((width + 2 * padding - kernel_width) / stride + 1), area(height * width),
        places(out_height * out_width), kernel(kernel_height * kernel_width) {}

  long inputs() const { return channels * area; }
  long results() const { return outs * places; }
  long weights() const { return outs * channels * kernel; }
  long framed_width() const { return width + 2 * padding; }
  long framed() const { return (height + 2 * padding) * framed_width() * channels; }

  // What results read of samples.
  Reads forward() const {
    Reads reads;
    for (long y = 0; y < out_height; ++y) {
      for (long x = 0; x < out_width; ++x) {
        const long top = y * stride - padding, left = x * stride - padding;
        const long bottom = std::min<long>(kernel_height, height - top);
        const long begin = std::max(0L, -left), end = std::min<long>(kernel_width, width - left);
        for (long i = std::max(0L, -top); i < bottom && begin < end; ++i) {
          const long source = (top + i) * width + left + begin, row = i * kernel_width + begin;
          reads.runs.push_back({source * channels, row * channels, (end - begin) * channels});
        }
        reads.begin.push_back(reads.runs.size());
      }
    }
    return reads;
  }

  // What the samples' adjoints read of those of the results.
  Reads back() const {
    const std::vector<long> rows = readers(height, kernel_height, out_height);
    const std::vector<long> columns = readers(width, kernel_width, out_width);
    Reads reads;
    for (long y = 0; y < height; ++y) {
      for (long x = 0; x < width; ++x) {
        for (long i = 0; i < kernel_height; ++i) {
          for (long j = 0; j < kernel_width; ++j) {
            const long row = rows[y * kernel_height + i], column = columns[x * kernel_width + j];
            if (row < 0 || column < 0) continue;
            const long place = row * out_width + column, k = i * kernel_width + j;
            reads.runs.push_back({place * outs, k * outs, outs});
          }
        }
        reads.begin.push_back(reads.runs.size());
      }
    }
    return reads;
  }

  // Where the window of each place begins in samples with a frame.
  std::vector<long> windows() const {
    std::vector<long> found;
    for (long y = 0; y < out_height; ++y) {
      for (long x = 0; x < out_width; ++x) {
        found.push_back((y * framed_width() + x) * stride * channels);
      }
    }
    return found;
  }

  // Where each number of a sample is, in a frame of so many zeros.
  std::vector<long> of_samples(long frame) const {
    std::vector<long> found;
    for (long c = 0; c < channels; ++c) {
      for (long y = 0; y < height; ++y) {
        const long row = (y + frame) * (width + 2 * frame) + frame;
        for (long x = 0; x < width; ++x) found.push_back((row + x) * channels + c);
      }
    }
    return found;
  }

  std::vector<long> of_results() const {
    std::vector<long> found;
    for (long o = 0; o < outs; ++o) {
      for (long p = 0; p < places; ++p) found.push_back(p * outs + o);
    }
    return found;
  }

  // Where each number of the kernels is, forward or back.
  std::vector<long> of_weights(bool is_back) const {
    std::vector<long> found;
    for (long o = 0; o < outs; ++o) {
      for (long c = 0; c < channels; ++c) {
        for (long k = 0; k < kernel; ++k) {
          found.push_back(is_back ? (k * outs + o) * channels + c : (k * channels + c) * outs + o);
        }
      }
    }
    return found;
  }

 private:
  // Of every place of an axis, and every tap of the kernel there, the result that reads it, or -1.
  std::vector<long> readers(long size, long taps, long out) const {
    std::vector<long> found;
    for (long place = 0; place < size; ++place) {
      for (long tap = 0; tap < taps; ++tap) {
        const long begin = place + padding - tap;
        const bool is_read = begin >= 0 && begin % stride == 0 && begin / stride < out;
        found.push_back(is_read ? begin / stride : -1);
      }
    }
    return found;
  }
};

}  // namespace nfn

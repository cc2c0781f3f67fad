// The way back through single entries.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "gradient.h"
#include "laid.h"
#include "step/averaging.h"
#include "step/channels.h"
#include "step/terms.h"
#include "tape.h"

namespace nfn {

// What is added up over the entries of a parameter, a row for every channel.
struct Sums {
  Matrix rows, columns;  // of the latter every tap by itself

  Sums(const Parameter& p, long channels) : rows(channels, p.rows), columns(channels, p.length()) {}

  // Adds the entries of a row from `e` on, and to the sum along it.
  void add(long channel, long e, Vec x, Vec& along_row) {
    float* at = columns[channel] + e;
    store(at, load(at) + x);
    along_row += x;
  }

  // As adjoints of terms, which are the same for every tap.
  Terms terms(const Parameter& p) && {
    Matrix joined(columns.rows, p.columns);
    for (long k = 0; k < columns.rows; ++k) {
      for (long i = 0; i < p.columns; ++i) joined[k][i] = total(columns[k] + i * p.taps, p.taps);
    }
    return {std::move(rows), std::move(joined)};
  }
};

// Adjoints of what the last layer writes, `WRITTEN` channels a row, and of log size and log recency.
struct Written {
  Matrix channels;
  double size = 0, recency = 0;

  explicit Written(const Parameter& p) : channels(p.rows * WRITTEN, p.length()) {}
  float* at(long row, int channel) { return channels[row * WRITTEN + channel]; }
};

// The adjoint of taking its mean from the magnitude: the same.
inline void centre(const Parameter& p, Written& written, Sums& sums) {
  const long length = p.length();
  const float mean = total(sums.rows[0], p.rows) / p.entries();
  for (long row = 0; row < p.rows; ++row) {
    for (long e = 0; e < length; ++e) written.at(row, 0)[e] -= mean;
    sums.rows[0][row] -= mean * length;
  }
  for (long e = 0; e < length; ++e) sums.columns[0][e] -= mean * p.rows;
}

// From how entries move to what the last layer writes; as `move` of step/averaging.h leads there. The
// tape has values within `CLIP` times their size: what is taken from larger ones counts as from these.
inline Written back_to_written(const Parameter& p, const Adjoints& adjoints, bool centred,
                               Sums& sums) {
  Written written(p);
  const long length = p.length();
  for (long row = 0; row < p.rows; ++row) {
    Vec along[WRITTEN] = {}, sizes = {}, recencies = {};
    for (long e = 0; e < length; e += LANES) {
      const long at = row * length + e, n = length - e;
      const Vec magnitude = load(p.taped(row, INPUTS) + e);
      const Vec rate = sigmoid(p.trust * load(p.taped(row, INPUTS + 1) + e) + p.recency);
      const Vec clamped = clamp(magnitude, -MAX_LOG_MAGNITUDE, MAX_LOG_MAGNITUDE);
      const Vec direction = load(p.taped(row, 0) + e);
      const Vec step = exp(p.trust * clamped + p.log_size) * direction;
      const Vec taken = shrunk(p, direction, load(p.taped(row, VALUE) + e) / p.size);
      const Vec delta = load(adjoints.delta + at, n), after = load(adjoints.after + at, n);
      const Vec ahead = load(adjoints.lead + at, n) - FOLLOWED * step;
      const Vec of_ahead = rate * delta + (1.0f - rate) * after;
      store(adjoints.before + at, of_ahead, n);
      const Vec size = step * (-LED * delta - FOLLOWED * of_ahead);
      const Vec recency = ahead * (delta - after) * rate * (1.0f - rate);
      const Vec changes[WRITTEN] = {p.trust * (magnitude == clamped ? size : Vec{}),
                                    p.trust * recency};
      for (int w = 0; w < WRITTEN; ++w) {
        store(written.at(row, w) + e, changes[w]);
        sums.add(w, e, changes[w], along[w]);
      }
      sizes += size - delta * taken, recencies += recency;
    }
    for (int w = 0; w < WRITTEN; ++w) sums.rows[w][row] = sum(along[w]);
    written.size += p.trust * sum(sizes), written.recency += p.trust * sum(recencies);
  }
  if (centred) centre(p, written, sums);
  return written;
}

// Products of hidden channels' adjoints and of what was read, added up over entries: a register for
// each pair of channels, so that they are added up along rows of any length.
class Products {
 public:
  Products(long rows, long columns) : columns_(columns), sums_(rows * columns) {}

  // Adds `a[i] b[j]` along `length` entries, for all rows of `a` and of `b`.
  void add(const Matrix& a, const float* b, long b_stride, long length) {
    static_assert(INPUTS % 5 == 0);
    long i = 0;
    for (; i + 4 <= a.rows; i += 4) add<4>(a, i, b, b_stride, length);
    for (; i < a.rows; ++i) add<1>(a, i, b, b_stride, length);
  }

  void write(Matrix& to) const {
    for (long i = 0; i < static_cast<long>(sums_.size()) / columns_; ++i) {
      for (long j = 0; j < columns_; ++j) to[i][j] += sum(sums_[i * columns_ + j]);
    }
  }

  Vec& at(long row, long column) { return sums_[row * columns_ + column]; }

 private:
  template <long ROWS>
  void add(const Matrix& a, long i, const float* b, long b_stride, long length) {
    for (long j = 0; j < columns_; j += 5) {
      Vec total[ROWS][5];
      for (long r = 0; r < ROWS; ++r) {
        for (long s = 0; s < 5; ++s) total[r][s] = at(i + r, j + s);
      }
      for (long e = 0; e < length; e += LANES) {
        Vec right[5];
        for (long s = 0; s < 5; ++s) right[s] = load(b + (j + s) * b_stride + e);
        for (long r = 0; r < ROWS; ++r) {
          const Vec left = load(a[i + r] + e);
          for (long s = 0; s < 5; ++s) total[r][s] += left * right[s];
        }
      }
      for (long r = 0; r < ROWS; ++r) {
        for (long s = 0; s < 5; ++s) at(i + r, j + s) = total[r][s];
      }
    }
  }

  long columns_;
  std::vector<Vec> sums_;
};

// From what the last layer writes, and adjoints of the means that it pools, through the hidden
// channels to the adjoints of what is added to them. Adds to the gradients of both layers.
template <bool TAPS>
inline Sums back_to_terms(const Parameter& p, const Layer& read, const Layer& write,
                          const Terms& terms, const Means& pooled, Written& written,
                          Gradient& of_read, Gradient& of_write) {
  const long length = p.length(), hidden_channels = read.out;
  const float* weight = write.own_entry(p);
  // What means hand back to every entry, a row at a time.
  const float of_row = p.is_weight() ? 1.0f / length : 0, of_column = 1.0f / (p.rows * p.taps);
  Matrix columns(hidden_channels, p.columns);
  for (long o = 0; o < hidden_channels; ++o) {
    const float* from = p.is_weight() ? pooled.columns[o] : pooled.rows[o];
    for (long i = 0; i < p.columns; ++i) columns[o][i] = of_column * from[i];
  }
  columns = spread(columns, p.taps);
  Sums sums(p, hidden_channels);
  Products entries(hidden_channels, INPUTS), taps(TAPS ? hidden_channels : 0, INPUTS);
  std::vector<Vec> last(WRITTEN * hidden_channels), last_taps(WRITTEN * hidden_channels);
  std::vector<Vec> along(hidden_channels);
  Matrix adjoint(hidden_channels, length), tapped(TAPS ? WRITTEN : 0, length);
  Row whole(TAPS ? length : 0);
  for (long row = 0; row < p.rows; ++row) {
    std::fill(along.begin(), along.end(), Vec{});
    if (TAPS) {
      for (int w = 0; w < WRITTEN; ++w) {
        nfn::average(written.at(row, w), tapped[w], p.columns, p.taps);
      }
    }
    const auto through = [&](long e, int o, Vec h) {
      Vec back = load(columns[o] + e) + (p.is_weight() ? of_row * pooled.rows[o][row] : 0);
      for (int w = 0; w < WRITTEN; ++w) {
        const long map = w * hidden_channels + o;
        const Vec change = load(written.at(row, w) + e);
        back += weight[map] * change;
        last[map] += change * h;
        if (TAPS) {
          const Vec of_taps = load(tapped[w] + e);
          back += write.taps[map] * of_taps;
          last_taps[map] += of_taps * h;
        }
      }
      back = first(h > 0 ? back : Vec{}, length - e);
      store(adjoint[o] + e, back);
      sums.add(o, e, back, along[o]);
    };
    nfn::along<TAPS>(p, row, whole, [&](long e, Panel x, Panel means) {
      hidden<TAPS>(read, p, terms, row, e, x, means, [&](int o, Vec low, Vec high) {
        through(e, o, low);
        if (e + LANES < length) through(e + LANES, o, high);
      });
    });
    for (long o = 0; o < hidden_channels; ++o) sums.rows[o][row] = sum(along[o]);
    entries.add(adjoint, p.taped(row, 0), padded(length, PANEL), length);
    if (TAPS) taps.add(adjoint, whole.means[0], whole.means.stride, length);
  }
  entries.write(of_read.entries(p));
  taps.write(of_read.taps);
  const bool has_one_tap = p.has_taps && !TAPS;  // whose mean is itself
  if (has_one_tap) entries.write(of_read.taps);
  for (int w = 0; w < WRITTEN; ++w) {
    for (long o = 0; o < hidden_channels; ++o) {
      const float own = sum(last[w * hidden_channels + o]);
      of_write.entries(p)[w][o] += own;
      of_write.taps[w][o] += has_one_tap ? own : sum(last_taps[w * hidden_channels + o]);
    }
  }
  return sums;
}

}  // namespace nfn

// A step of `NFNRule` on one network in place, with every entry's channels kept in registers.
//
// It goes over the entries four times: to accumulate gradients, to pool the input channels, to pool
// the hidden channels, and to move the parameters. In between it works on vectors of neurons.
//
// A parameter is `rows` of `columns * taps` entries: of a weight rows are outputs and columns inputs,
// a vector is one row whose columns are its neurons.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "constants.h"
#include "lanes.h"
#include "matrix.h"
#include "polar.h"

namespace nfn {
namespace {

// Meta-parameters of a `SharedNPLinear`.
struct Layer {
  int in, out;
  const float *entry, *vector, *taps, *own, *neurons, *network, *bias;
};

// What meta-training has seen, see `Limits` in rules/_limits.py.
struct Limits {
  float horizon, memory, log_fan_in, weight_size;
};

struct Parameter {
  long rows, columns, taps;
  int out, source;  // populations; no source for a vector
  bool is_polar;
  float fans[3];
  float *values, *momenta, *square, *lead, *step;
  const float *grad, *num_steps;
  float rate, keep;

  float correct[DECAYS], correct_square, level, loudness[DECAYS], size, context[CONTEXT];
  float log_size, recency;
  double moved = 0;
  std::unique_ptr<float[]> direction;

  bool is_weight() const { return source >= 0; }
  long length() const { return columns * taps; }
  long entries() const { return rows * length(); }
  long neurons() const { return is_weight() ? rows : columns; }  // of the output axis
};

// Some rows of a parameter, and what was found in them.
struct Piece {
  int parameter;
  long begin, end;
  double sums[DECAYS + 3];
  double moved;
  Matrix columns;  // sums over the rows, a row for every channel
};

// Means of one parameter, a row for every channel.
struct Pooled {
  Matrix rows, columns;
};

// What is added to a parameter's channels, a row for each; over taps the same.
struct Terms {
  Matrix rows, columns;
};

class Step {
 public:
  Step(std::vector<Parameter> parameters, std::vector<long> sizes, Layer read, Layer write,
       const float* schedule_weight, const float* schedule_bias, Limits limits, int threads)
      : parameters_(std::move(parameters)),
        sizes_(std::move(sizes)),
        read_(read),
        write_(write),
        schedule_weight_(schedule_weight),
        schedule_bias_(schedule_bias),
        limits_(limits) {
    share(threads);
  }

  void run() {
    on_pieces([this](Piece& piece) { accumulate(piece); });
    describe();
    for (Parameter& p : parameters_) {
      if (!p.is_polar) continue;
      p.direction.reset(new float[p.entries()]);
      polar_factor(p.momenta, p.neurons(), p.entries() / p.neurons(), p.direction.get(), threads());
    }
    open_rows(INPUTS);
    on_pieces([this](Piece& piece) { pool_inputs(piece); });
    std::vector<Terms> hidden = terms(read_, join(INPUTS));
    open_rows(read_.out);
    on_pieces([this, &hidden](Piece& piece) { pool_hidden(piece, hidden[piece.parameter]); });
    std::vector<Terms> last = terms(write_, join(read_.out));
    on_pieces([this, &hidden, &last](Piece& piece) {
      move(piece, hidden[piece.parameter], last[piece.parameter]);
    });
    for (const auto& share : shares_) {
      for (const Piece& piece : share) parameters_[piece.parameter].moved += piece.moved;
    }
  }

  const std::vector<Parameter>& parameters() const { return parameters_; }

 private:
  std::vector<Parameter> parameters_;
  std::vector<long> sizes_;
  Layer read_, write_;
  const float *schedule_weight_, *schedule_bias_;
  Limits limits_;
  std::vector<std::vector<Piece>> shares_;  // of each thread
  std::vector<Matrix> rows_;                // sums over a row, of each parameter

  int threads() const { return static_cast<int>(shares_.size()); }

  // Gives every thread the same number of entries, in whole rows.
  void share(int threads) {
    long total = 0, seen = 0;
    for (const Parameter& p : parameters_) total += p.entries();
    threads = static_cast<int>(std::min<long>(threads, 1 + total / 8192));
    shares_.resize(std::max(1, threads));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = parameters_[i];
      for (long row = 0; row < p.rows;) {
        const size_t t = std::min<size_t>(seen * shares_.size() / total, shares_.size() - 1);
        const long until = (static_cast<long>(t) + 1) * total / shares_.size();
        long rows = std::max(1L, (until - seen + p.length() - 1) / p.length());
        if (t + 1 == shares_.size()) rows = p.rows;
        const long end = std::min(p.rows, row + rows);
        shares_[t].push_back({static_cast<int>(i), row, end, {}, 0, {}});
        seen += (end - row) * p.length();
        row = end;
      }
    }
  }

  template <class Body>
  void on_pieces(Body body) {
    const int threads = this->threads();
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int t = 0; t < threads; ++t) {
      for (Piece& piece : shares_[t]) body(piece);
    }
  }

  void accumulate(Piece& piece) {
    Parameter& p = parameters_[piece.parameter];
    const long end = piece.end * p.length(), total = p.entries();
    constexpr float kept = SQUARE_DECAY, taken = 1 - SQUARE_DECAY;
    for (long begin = piece.begin * p.length(); begin < end; begin += 4096) {
      Vec sums[DECAYS + 3] = {};
      for (long e = begin; e < std::min(end, begin + 4096); e += LANES) {
        const long n = end - e;
        const Vec value = load(p.values + e, n), grad = load(p.grad + e, n);
        const Vec gain = grad * grad;
        const Vec square = kept * load(p.square + e, n) + taken * gain;
        store(p.square + e, square, n);
        sums[0] += value * value, sums[1] += gain, sums[2] += square;
        for (int k = 0; k < DECAYS; ++k) {
          float* at = p.momenta + k * total + e;
          Vec momentum = load(at, n);
          momentum += static_cast<float>(1 - DECAY[k]) * (grad - momentum);
          store(at, momentum, n);
          sums[3 + k] += momentum * momentum;
        }
      }
      for (int k = 0; k < DECAYS + 3; ++k) piece.sums[k] += sum(sums[k]);
    }
  }

  // What is known of whole parameters, and how large their steps are.
  void describe() {
    std::vector<double> sums(parameters_.size() * (DECAYS + 3));
    for (const auto& share : shares_) {
      for (const Piece& piece : share) {
        for (int k = 0; k < DECAYS + 3; ++k) {
          sums[piece.parameter * (DECAYS + 3) + k] += piece.sums[k];
        }
      }
    }
    for (size_t i = 0; i < parameters_.size(); ++i) {
      Parameter& p = parameters_[i];
      scale(p, &sums[i * (DECAYS + 3)]);
      pace(p);
    }
  }

  static float rms(double square, long count) {
    return std::sqrt(static_cast<float>(square / count) + TINY);
  }

  // Adam's bias correction.
  static float correction(double decay, float step) {
    return static_cast<float>(-1 / std::expm1(step * std::log(decay)));
  }

  void scale(Parameter& p, const double* sums) const {
    const float step = *p.step += 1;
    const long count = p.entries();
    const float size = rms(sums[0], count), loud = rms(sums[1], count);
    p.correct_square = correction(SQUARE_DECAY, step);
    const float level = static_cast<float>(sums[2] / count) * p.correct_square;
    p.level = p.correct_square / (level + TINY);
    p.size = 1 / size;
    const float typical = std::sqrt(level + TINY);
    float* context = p.context;
    *context++ = std::log(std::min(size, limits_.weight_size) + 1e-4f);
    for (int k = 0; k < DECAYS; ++k) {
      const float loudness = rms(sums[3 + k], count);
      p.correct[k] = correction(DECAY[k], step);
      p.loudness[k] = 1 / loudness;
      *context++ = std::log(loudness * p.correct[k] / typical + 1e-4f);
    }
    *context++ = std::log(loud / typical + 1e-4f);
    std::copy(p.fans, p.fans + 3, context);
  }

  void pace(Parameter& p) const {
    const float step = *p.step, total = *p.num_steps, known = total > 0;
    const float left = std::max(0.0f, 1 - step / std::max(total, 1.0f));
    float inputs[SCHEDULE], *to = inputs;
    for (float time : TIME) *to++ = std::tanh(step / time - 1);
    *to++ = known;
    *to++ = known * left;
    *to++ = known * (std::log(left + LAST) / -std::log(LAST));
    std::copy(p.fans, p.fans + 3, to);
    float written[WRITTEN];
    for (int o = 0; o < WRITTEN; ++o) {
      written[o] = schedule_bias_[o];
      for (int k = 0; k < SCHEDULE; ++k) {
        written[o] += schedule_weight_[o * SCHEDULE + k] * inputs[k];
      }
    }
    const float age = std::log(std::min(step, limits_.memory));
    const float excess = std::max(0.0f, p.fans[1] - limits_.log_fan_in);
    const float late = std::log(std::max(step / limits_.horizon, 1.0f));
    p.log_size = written[0] - excess - late;
    p.recency = written[1] - age;
  }

  // Input channels of entries from `e` on, zero beyond the first `n`.
  static inline void channels(const Parameter& p, long e, long n, Vec* x) {
    const long total = p.entries();
    const Vec square = load(p.square + e, n);
    const Vec scale = 1.0f / root(square * p.correct_square + TINY);
    for (int k = 0; k < DECAYS; ++k) {
      const Vec momentum = load(p.momenta + k * total + e, n);
      x[2 + k] = momentum * scale * p.correct[k];
      x[2 + DECAYS + k] = momentum * p.loudness[k];
    }
    x[0] = p.is_polar ? load(p.direction.get() + e, n) : x[2];
    x[1] = load(p.grad + e, n) * scale;
    x[2 + 2 * DECAYS] = load(p.values + e, n) * p.size;
    x[3 + 2 * DECAYS] = 0.5f * log(square * p.level + 1e-6f);
    for (int c = 0; c < INPUTS; ++c) x[c] = first(clamp(x[c], -CLIP, CLIP), n);
  }

  // Input channels of a whole row, and their means over taps.
  struct Row {
    Matrix x, means;
    explicit Row(long length) : x(INPUTS, length), means(INPUTS, length) {}

    void read(const Parameter& p, long row) {
      const long length = p.length();
      for (long e = 0; e < length; e += LANES) {
        Vec channel[INPUTS];
        channels(p, row * length + e, length - e, channel);
        for (int c = 0; c < INPUTS; ++c) store(x[c] + e, channel[c]);
      }
      for (int c = 0; c < INPUTS; ++c) average(x[c], means[c], p.columns, p.taps);
    }
  };

  // Means over taps, spread over taps again.
  static void average(const float* from, float* to, long columns, long taps) {
    taps == 9 ? average<9>(from, to, columns, taps) : average<0>(from, to, columns, taps);
  }

  // `TAPS` of them where the compiler is to know; `from` may be `to`.
  template <int TAPS>
  static void average(const float* from, float* to, long columns, long taps) {
    if (TAPS) taps = TAPS;
    for (long i = 0; i < columns; ++i, from += taps, to += taps) {
      float total = 0;
      for (long t = 0; t < taps; ++t) total += from[t];
      total /= taps;
      for (long t = 0; t < taps; ++t) to[t] = total;
    }
  }

  void open_rows(int channels) {
    rows_.clear();
    for (const Parameter& p : parameters_) rows_.emplace_back(channels, p.rows);
    for (auto& share : shares_) {
      for (Piece& piece : share) {
        piece.columns = Matrix(channels, parameters_[piece.parameter].length());
      }
    }
  }

  void pool_inputs(Piece& piece) {
    const Parameter& p = parameters_[piece.parameter];
    const long length = p.length();
    for (long row = piece.begin; row < piece.end; ++row) {
      Vec sums[INPUTS] = {};
      for (long e = 0; e < length; e += LANES) {
        Vec x[INPUTS];
        channels(p, row * length + e, length - e, x);
        for (int c = 0; c < INPUTS; ++c) {
          float* at = piece.columns[c] + e;
          sums[c] += x[c];
          store(at, load(at) + x[c]);
        }
      }
      for (int c = 0; c < INPUTS; ++c) rows_[piece.parameter][c][row] = sum(sums[c]);
    }
  }

  // Calls `visit(o, channel)` with the hidden channels of the entries from `e` on.
  template <bool TAPS, class Visit>
  inline void hidden(const Parameter& p, const Terms& terms, long row, long e, const Vec* x,
                     const Vec* means, Visit visit) const {
    int o = 0;
    for (; o + 4 <= read_.out; o += 4) hidden<TAPS, 4>(p, terms, row, e, x, means, o, visit);
    for (; o < read_.out; ++o) hidden<TAPS, 1>(p, terms, row, e, x, means, o, visit);
  }

  // `COUNT` channels from `o` on side by side, as every sum waits for its last product.
  template <bool TAPS, int COUNT, class Visit>
  inline void hidden(const Parameter& p, const Terms& terms, long row, long e, const Vec* x,
                     const Vec* means, int o, Visit& visit) const {
    const float* weight = (p.is_weight() ? read_.entry : read_.vector) + o * INPUTS;
    const float* taps = read_.taps + o * INPUTS;
    Vec y[COUNT];
    for (int i = 0; i < COUNT; ++i) y[i] = load(terms.columns[o + i] + e) + terms.rows[o + i][row];
#pragma GCC unroll 10
    for (int c = 0; c < INPUTS; ++c) {
      for (int i = 0; i < COUNT; ++i) {
        y[i] += weight[i * INPUTS + c] * x[c];
        if (TAPS) y[i] += taps[i * INPUTS + c] * means[c];
      }
    }
    for (int i = 0; i < COUNT; ++i) visit(o + i, y[i] > 0 ? y[i] : Vec{});
  }

  // Calls `visit(e, x, means)` for all entries of a row, some at once.
  template <bool TAPS, class Visit>
  static inline void along(const Parameter& p, long row, Row& whole, Visit visit) {
    const long length = p.length();
    if (TAPS) whole.read(p, row);
    for (long e = 0; e < length; e += LANES) {
      Vec x[INPUTS], means[INPUTS];
      if (TAPS) {
        for (int c = 0; c < INPUTS; ++c) {
          x[c] = load(whole.x[c] + e);
          means[c] = load(whole.means[c] + e);
        }
      } else {
        channels(p, row * length + e, length - e, x);
      }
      visit(e, x, means);
    }
  }

  void pool_hidden(Piece& piece, const Terms& terms) {
    parameters_[piece.parameter].taps > 1 ? pool_hidden<true>(piece, terms)
                                          : pool_hidden<false>(piece, terms);
  }

  template <bool TAPS>
  void pool_hidden(Piece& piece, const Terms& terms) {
    const Parameter& p = parameters_[piece.parameter];
    Row whole(TAPS ? p.length() : 0);
    std::vector<float> sums(read_.out * LANES);
    for (long row = piece.begin; row < piece.end; ++row) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      along<TAPS>(p, row, whole, [&](long e, const Vec* x, const Vec* means) {
        const long n = p.length() - e;
        hidden<TAPS>(p, terms, row, e, x, means, [&](int o, Vec y) {
          float* at = piece.columns[o] + e;
          y = first(y, n);
          store(at, load(at) + y);
          store(&sums[o * LANES], load(&sums[o * LANES]) + y);
        });
      });
      for (int o = 0; o < read_.out; ++o) {
        rows_[piece.parameter][o][row] = sum(load(&sums[o * LANES]));
      }
    }
  }

  void move(Piece& piece, const Terms& terms, const Terms& last) {
    parameters_[piece.parameter].taps > 1 ? move<true>(piece, terms, last)
                                          : move<false>(piece, terms, last);
  }

  template <bool TAPS>
  void move(Piece& piece, const Terms& terms, const Terms& last) {
    Parameter& p = parameters_[piece.parameter];
    const float* weight = p.is_weight() ? write_.entry : write_.vector;
    const long length = p.length();
    Row whole(TAPS ? length : 0);
    Matrix own(TAPS ? WRITTEN : 0, length), over_taps(TAPS ? WRITTEN : 0, length);
    Vec moved = {};
    const auto finish = [&](long row, long e, Vec direction, Vec magnitude, Vec shift) {
      const long at = row * length + e, n = length - e;
      magnitude += load(last.columns[0] + e) + last.rows[0][row];
      shift += load(last.columns[1] + e) + last.rows[1][row];
      const Vec step =
          exp(clamp(magnitude, -MAX_LOG_MAGNITUDE, MAX_LOG_MAGNITUDE) + p.log_size) * direction;
      const Vec ahead = load(p.lead + at, n) - FOLLOWED * step;
      const Vec caught = sigmoid(shift + p.recency) * ahead;
      const Vec delta = caught - LED * step;
      store(p.lead + at, ahead - caught, n);
      store(p.values + at, p.keep * load(p.values + at, n) + p.rate * delta, n);
      moved += first(delta * delta, n);
    };
    for (long row = piece.begin; row < piece.end; ++row) {
      along<TAPS>(p, row, whole, [&](long e, const Vec* x, const Vec* means) {
        Vec y[WRITTEN] = {}, tapped[WRITTEN] = {};
        hidden<TAPS>(p, terms, row, e, x, means, [&](int o, Vec h) {
          for (int w = 0; w < WRITTEN; ++w) y[w] += weight[w * write_.in + o] * h;
          if (TAPS) {
            for (int w = 0; w < WRITTEN; ++w) tapped[w] += write_.taps[w * write_.in + o] * h;
          }
        });
        if (!TAPS) return finish(row, e, x[0], y[0], y[1]);
        for (int w = 0; w < WRITTEN; ++w) {
          store(own[w] + e, y[w]);
          store(over_taps[w] + e, tapped[w]);
        }
      });
      if (!TAPS) continue;
      for (int w = 0; w < WRITTEN; ++w) average(over_taps[w], over_taps[w], p.columns, p.taps);
      for (long e = 0; e < length; e += LANES) {
        finish(row, e, load(whole.x[0] + e), load(own[0] + e) + load(over_taps[0] + e),
               load(own[1] + e) + load(over_taps[1] + e));
      }
    }
    piece.moved = sum(moved);
  }

  // Means of what pieces have summed.
  std::vector<Pooled> join(int channels) const {
    std::vector<Pooled> pooled;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = parameters_[i];
      pooled.push_back({rows_[i], Matrix(channels, p.columns)});
      for (float& x : pooled.back().rows.data) x /= p.length();
    }
    for (const auto& share : shares_) {
      for (const Piece& piece : share) {
        const Parameter& p = parameters_[piece.parameter];
        const float part = 1.0f / (p.rows * p.taps);
        for (int c = 0; c < channels; ++c) {
          const float* from = piece.columns[c];
          float* to = pooled[piece.parameter].columns[c];
          for (long i = 0; i < p.columns; ++i) {
            for (long t = 0; t < p.taps; ++t) to[i] += part * *from++;
          }
        }
      }
    }
    for (size_t i = 0; i < parameters_.size(); ++i) {
      if (!parameters_[i].is_weight()) std::swap(pooled[i].rows, pooled[i].columns);
    }
    return pooled;
  }

  // What everything else says to each parameter, as `SharedNPLinear.terms`.
  std::vector<Terms> terms(const Layer& layer, const std::vector<Pooled>& pooled) const {
    const long c = layer.in, o = layer.out;
    std::vector<long> starts;
    const Matrix joined = of_neurons(pooled, c, starts);
    const Matrix neurons = multiply(layer.neurons, 3 * o, joined, threads());
    const Matrix whole = of_network(layer, pooled);
    std::vector<Terms> result;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = parameters_[i];
      Matrix rows(o, p.rows), columns(o, p.columns);
      const auto add = [&](Matrix& to, int role, int population) {
        for (long k = 0; k < o; ++k) {
          const float* from = neurons[role * o + k] + starts[population];
          for (long e = 0; e < sizes_[population]; ++e) to[k][e] += from[e];
        }
      };
      if (p.is_weight()) {
        rows = multiply(layer.own, o, pooled[i].rows, threads());
        columns = multiply(layer.own + o * c, o, pooled[i].columns, threads());
        add(rows, 0, p.out);
        add(columns, 1, p.source);
      } else {
        add(columns, 2, p.out);
      }
      for (long k = 0; k < o; ++k) {
        for (long e = 0; e < p.rows; ++e) rows[k][e] += whole[k][i];
      }
      result.push_back({std::move(rows), spread(columns, p.taps)});
    }
    return result;
  }

  // The same for every tap.
  static Matrix spread(Matrix& columns, long taps) {
    if (taps == 1) return std::move(columns);
    Matrix result(columns.rows, columns.columns * taps);
    for (long k = 0; k < columns.rows; ++k) {
      for (long i = 0; i < columns.columns; ++i) {
        std::fill_n(result[k] + i * taps, taps, columns[k][i]);
      }
    }
    return result;
  }

  // Means over the parameters that carry a population, three roles after another.
  Matrix of_neurons(const std::vector<Pooled>& pooled, long c, std::vector<long>& starts) const {
    long total = 0;
    for (long size : sizes_) starts.push_back(total), total += size;
    std::vector<int> carriers(3 * sizes_.size());
    Matrix joined(3 * c, total);
    const auto each = [&](auto visit) {
      for (size_t i = 0; i < parameters_.size(); ++i) {
        const Parameter& p = parameters_[i];
        visit(p.is_weight() ? 0 : 2, p.out, pooled[i].rows);
        if (p.is_weight()) visit(1, p.source, pooled[i].columns);
      }
    };
    each([&](int role, int population, const Matrix&) { ++carriers[3 * population + role]; });
    each([&](int role, int population, const Matrix& means) {
      const float part = 1.0f / carriers[3 * population + role];
      for (long k = 0; k < c; ++k) {
        float* to = joined[role * c + k] + starts[population];
        for (long e = 0; e < sizes_[population]; ++e) to[e] += part * means[k][e];
      }
    });
    return joined;
  }

  // What the means of the whole network and of all weights or vectors say: `(out, parameters)`.
  Matrix of_network(const Layer& layer, const std::vector<Pooled>& pooled) const {
    const long c = layer.in, inputs = 3 * c + CONTEXT;
    Matrix given(parameters_.size(), inputs), result(layer.out, parameters_.size());
    std::vector<float> means(2 * c);
    int counts[2] = {};
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = parameters_[i];
      ++counts[!p.is_weight()];
      for (long k = 0; k < c; ++k) {
        float total = 0;
        for (long e = 0; e < p.neurons(); ++e) total += pooled[i].rows[k][e];
        given[i][k] = total / p.neurons();
        means[!p.is_weight() * c + k] += given[i][k];
      }
    }
    for (long k = 0; k < 2 * c; ++k) means[k] /= std::max(1, counts[k >= c]);
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Parameter& p = parameters_[i];
      std::copy(means.begin(), means.end(), given[i] + c);
      std::copy(p.context, p.context + CONTEXT, given[i] + 3 * c);
      const long kind = !p.is_weight();
      for (long k = 0; k < layer.out; ++k) {
        const float* weight = layer.network + (kind * layer.out + k) * inputs;
        float total = layer.bias[kind * layer.out + k];
        for (long e = 0; e < inputs; ++e) total += weight[e] * given[i][e];
        result[k][i] = total;
      }
    }
    return result;
  }
};

Layer layer_of(int in, int out, const float* const* weights) {
  return {in,         out,        weights[0], weights[1], weights[2],
          weights[3], weights[4], weights[5], weights[6]};
}

}  // namespace
}  // namespace nfn

// `layout` has rows, columns, taps, populations of outputs and inputs, and whether the direction is
// a polar factor, of every parameter; `tensors` values, gradient, momenta, square, lead, step and
// number of steps; `rates` a factor on the update and one on the values; `weights` seven of each
// layer and two of the schedule; `limits` the four of `Limits`. Writes the norms of the updates to
// `norms`.
extern "C" void nfn_step(long parameters, const int64_t* layout, const float* fans, long populations,
                         const int64_t* sizes, void* const* tensors, const double* rates,
                         const float* const* weights, const float* limits, int hidden, int threads,
                         float* norms) {
  std::vector<nfn::Parameter> all(parameters);
  for (long i = 0; i < parameters; ++i, layout += 6, tensors += 7, rates += 2) {
    nfn::Parameter& p = all[i];
    p.rows = layout[0], p.columns = layout[1], p.taps = layout[2];
    p.out = static_cast<int>(layout[3]), p.source = static_cast<int>(layout[4]);
    p.is_polar = layout[5];
    std::copy(fans + 3 * i, fans + 3 * i + 3, p.fans);
    float* const* at = reinterpret_cast<float* const*>(tensors);
    p.values = at[0], p.grad = at[1], p.momenta = at[2], p.square = at[3], p.lead = at[4];
    p.step = at[5], p.num_steps = at[6];
    p.rate = static_cast<float>(rates[0]), p.keep = static_cast<float>(rates[1]);
  }
  nfn::Step step(std::move(all), {sizes, sizes + populations},
                 nfn::layer_of(nfn::INPUTS, hidden, weights),
                 nfn::layer_of(hidden, nfn::WRITTEN, weights + 7), weights[14], weights[15],
                 {limits[0], limits[1], limits[2], limits[3]}, threads);
  step.run();
  for (const nfn::Parameter& p : step.parameters()) {
    *norms++ = static_cast<float>(std::sqrt(p.moved));
  }
}

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
#include <vector>

#include "averaging.h"
#include "channels.h"
#include "direction.h"
#include "parameter.h"
#include "statistics.h"
#include "terms.h"

namespace nfn {
namespace {

class Step {
 public:
  Step(Network network, Layer read, Layer write, Schedule schedule, Settings settings,
       int threads)
      : network_(std::move(network)),
        read_(read),
        write_(write),
        schedule_(schedule),
        settings_(settings),
        shares_(share(network_.parameters, threads)) {}

  void run() {
    on_pieces([this](Piece& piece) {
      accumulate(of(piece), piece);
      if (is_opening(of(piece), settings_)) add_slopes(of(piece), piece);
    });
    describe();
    point(network_.parameters, threads());
    write_.is_zero() ? keep_pace() : read_and_write();
    for (const auto& share : shares_) {
      for (const Piece& piece : share) of(piece).moved += piece.moved;
    }
  }

  const std::vector<Parameter>& parameters() const { return network_.parameters; }

 private:
  Network network_;
  Layer read_, write_;
  Schedule schedule_;
  Settings settings_;
  std::vector<std::vector<Piece>> shares_;  // of each thread
  std::vector<Matrix> rows_;                // sums over a row, of each parameter

  // A rule that has learned nothing needs no channels.
  void keep_pace() {
    on_pieces([this](Piece& piece) { nfn::keep_pace(of(piece), piece); });
  }

  void read_and_write() {
    open_rows(INPUTS);
    on_pieces([this](Piece& piece) { pool_inputs(piece); });
    std::vector<Terms> hidden = terms(network_, read_, join(INPUTS), threads());
    open_rows(read_.out);
    on_pieces([this, &hidden](Piece& piece) { pool_hidden(piece, hidden[piece.parameter]); });
    const std::vector<Means> pooled = join(read_.out);
    std::vector<Terms> last = terms(network_, write_, pooled, threads());
    for (size_t i = 0; settings_.centred && i < last.size(); ++i) {
      centre(network_.parameters[i], write_, pooled[i], last[i]);
    }
    on_pieces([this, &hidden, &last](Piece& piece) {
      move(piece, hidden[piece.parameter], last[piece.parameter]);
    });
  }

  int threads() const { return static_cast<int>(shares_.size()); }

  Parameter& of(const Piece& piece) { return network_.parameters[piece.parameter]; }

  template <class Body>
  void on_pieces(Body body) {
    const int threads = this->threads();
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int t = 0; t < threads; ++t) {
      for (Piece& piece : shares_[t]) body(piece);
    }
  }

  // What is known of whole parameters, and how large their steps are.
  void describe() {
    std::vector<double> sums(network_.parameters.size() * SUMS);
    for (const auto& share : shares_) {
      for (const Piece& piece : share) {
        for (int k = 0; k < SUMS; ++k) sums[piece.parameter * SUMS + k] += piece.sums[k];
      }
    }
    const float agreed = agreement(sums);
    for (size_t i = 0; i < network_.parameters.size(); ++i) {
      Parameter& p = network_.parameters[i];
      scale(p, &sums[i * SUMS], settings_);
      open(p, agreed, settings_);
      pace(p, schedule_, settings_);
    }
  }

  void open_rows(int channels) {
    rows_.clear();
    for (const Parameter& p : network_.parameters) rows_.emplace_back(channels, p.rows);
    for (auto& share : shares_) {
      for (Piece& piece : share) piece.columns = Matrix(channels, of(piece).length());
    }
  }

  void pool_inputs(Piece& piece) {
    const Parameter& p = of(piece);
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

  void pool_hidden(Piece& piece, const Terms& terms) {
    of(piece).taps > 1 ? pool_hidden<true>(piece, terms) : pool_hidden<false>(piece, terms);
  }

  template <bool TAPS>
  void pool_hidden(Piece& piece, const Terms& terms) {
    const Parameter& p = of(piece);
    Row whole(TAPS ? p.length() : 0);
    std::vector<float> sums(read_.out * LANES);
    for (long row = piece.begin; row < piece.end; ++row) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      along<TAPS>(p, row, whole, [&](long e, Panel x, Panel means) {
        const long n = p.length() - e;
        hidden<TAPS>(read_, p, terms, row, e, x, means, [&](int o, Vec low, Vec high) {
          low = first(low, n), high = first(high, n - LANES);
          float* at = piece.columns[o] + e;
          store(at, load(at) + low);
          store(at + LANES, load(at + LANES) + high);
          store(&sums[o * LANES], load(&sums[o * LANES]) + (low + high));
        });
      });
      for (int o = 0; o < read_.out; ++o) {
        rows_[piece.parameter][o][row] = sum(load(&sums[o * LANES]));
      }
    }
  }

  void move(Piece& piece, const Terms& terms, const Terms& last) {
    of(piece).taps > 1 ? move<true>(piece, terms, last) : move<false>(piece, terms, last);
  }

  template <bool TAPS>
  void move(Piece& piece, const Terms& terms, const Terms& last) {
    Parameter& p = of(piece);
    const float* weight = write_.own_entry(p);
    const long length = p.length();
    Row whole(TAPS ? length : 0);
    Matrix own(TAPS ? WRITTEN : 0, length), over_taps(TAPS ? WRITTEN : 0, length);
    Vec moved = {};
    const auto finish = [&](long row, long e, Vec direction, Vec magnitude, Vec shift) {
      const long at = row * length + e, n = length - e;
      magnitude += load(last.columns[0] + e) + last.rows[0][row];
      shift += load(last.columns[1] + e) + last.rows[1][row];
      magnitude = clamp(magnitude, -MAX_LOG_MAGNITUDE, MAX_LOG_MAGNITUDE);
      const Vec size = exp(p.trust * magnitude + p.log_size);
      moved += nfn::move(p, at, n, size * direction, sigmoid(p.trust * shift + p.recency));
    };
    for (long row = piece.begin; row < piece.end; ++row) {
      along<TAPS>(p, row, whole, [&](long e, Panel x, Panel means) {
        Vec y[WRITTEN][2] = {}, tapped[WRITTEN][2] = {};
        hidden<TAPS>(read_, p, terms, row, e, x, means, [&](int o, Vec low, Vec high) {
          for (int w = 0; w < WRITTEN; ++w) {
            const float entry = weight[w * write_.in + o], tap = write_.taps[w * write_.in + o];
            y[w][0] += entry * low, y[w][1] += entry * high;
            if (TAPS) tapped[w][0] += tap * low, tapped[w][1] += tap * high;
          }
        });
        for (int i = 0; i < 2; ++i) {
          const long at = i * LANES;
          if (!TAPS) finish(row, e + at, load(x.x + at), y[0][i], y[1][i]);
          for (int w = 0; TAPS && w < WRITTEN; ++w) {
            store(own[w] + e + at, y[w][i]);
            store(over_taps[w] + e + at, tapped[w][i]);
          }
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
  std::vector<Means> join(int channels) {
    const std::vector<Parameter>& parameters = network_.parameters;
    std::vector<Means> means;
    for (size_t i = 0; i < parameters.size(); ++i) {
      means.push_back({rows_[i], Matrix(channels, parameters[i].columns)});
      for (float& x : means.back().rows.data) x /= parameters[i].length();
    }
    for (const auto& share : shares_) {
      for (const Piece& piece : share) {
        const Parameter& p = of(piece);
        const float part = 1.0f / (p.rows * p.taps);
        for (int c = 0; c < channels; ++c) {
          const float* from = piece.columns[c];
          float* to = means[piece.parameter].columns[c];
          for (long i = 0; i < p.columns; ++i) {
            for (long t = 0; t < p.taps; ++t) to[i] += part * *from++;
          }
        }
      }
    }
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (!parameters[i].is_weight()) std::swap(means[i].rows, means[i].columns);
    }
    return means;
  }
};

}  // namespace
}  // namespace nfn

// `layout` has of every parameter rows, columns, taps, populations of outputs and inputs, whether
// inputs are rows, into how many matrices rows, columns and taps are cut, the bands of each, and
// whether there are axes of taps; `tensors` values, gradient, momenta, square, lead, step, number of
// steps, size at the start, loud, loudest and opened; `rates` a factor on the update and one on the
// values; `weights` seven of each layer and two of the schedule; `settings` those of `Settings`.
// Writes the norms of the updates to `norms`.
extern "C" void nfn_step(long parameters, const int64_t* layout, const float* fans, long populations,
                         const int64_t* sizes, void* const* tensors, const double* rates,
                         const float* const* weights, const float* settings, int hidden, int threads,
                         float* norms) {
  std::vector<nfn::Parameter> all;
  for (long i = 0; i < parameters; ++i) {
    all.emplace_back(layout + 11 * i, fans + 5 * i, tensors + 11 * i, rates + 2 * i);
  }
  nfn::Step step({std::move(all), {sizes, sizes + populations}},
                 nfn::Layer(nfn::INPUTS, hidden, weights),
                 nfn::Layer(hidden, nfn::WRITTEN, weights + 7), {weights[14], weights[15]},
                 nfn::Settings(settings), threads);
  step.run();
  for (const nfn::Parameter& p : step.parameters()) {
    *norms++ = static_cast<float>(std::sqrt(p.moved));
  }
}

// A step of `NFNRule` on one network in place, with every entry's channels kept in registers.
//
// It goes over the entries four times: to accumulate gradients, to pool the input channels, to pool
// the hidden channels, and to move the parameters. In between it works on vectors of neurons.
//
// A parameter is `rows` of `columns * taps` entries: of a weight rows are outputs and columns inputs,
// a vector is one row whose columns are its neurons.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "averaging.h"
#include "border.h"
#include "channels.h"
#include "direction.h"
#include "flush.h"
#include "parameter.h"
#include "statistics.h"
#include "terms.h"

namespace nfn {

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
    on_pieces([this](Piece& piece) { accumulate(of(piece), piece); });
    describe();
    is_taped() || !write_.is_zero() ? read_and_write() : keep_pace();
    for (const auto& share : shares_) {
      for (const Piece& piece : share) of(piece).moved += piece.moved;
    }
  }

  const std::vector<Parameter>& parameters() const { return network_.parameters; }

  // Of each parameter, of what the first layer reads and of the hidden channels.
  const std::vector<Means>& means_of_inputs() const { return inputs_; }
  const std::vector<Means>& means_of_hidden() const { return hidden_; }

 private:
  Network network_;
  Layer read_, write_;
  Schedule schedule_;
  Settings settings_;
  std::vector<std::vector<Piece>> shares_;  // of each thread
  std::vector<Matrix> rows_;                // sums over a row, of each parameter
  std::vector<Means> inputs_, hidden_;

  // A rule that has learned nothing needs no channels.
  void keep_pace() {
    for (Parameter& p : network_.parameters) {
      p.pace = exp(all(p.log_size))[0], p.following = sigmoid(all(p.recency))[0];
    }
    follow_adam(network_.parameters, threads());
    point(network_.parameters, threads(), [](Parameter& p, long at, long count, auto direction) {
      return nfn::keep_pace(p, at, count, direction);
    });
  }

  void keep_directions() {
    for (Parameter& p : network_.parameters) {
      if (p.is_polar()) p.direction = Buffer(p.entries());
    }
    point(network_.parameters, threads(), [](Parameter& p, long at, long count, auto direction) {
      keep(direction, count, p.direction.get() + at);
      return 0;
    });
  }

  void read_and_write() {
    keep_directions();
    open_rows(INPUTS);
    on_pieces([this](Piece& piece) { pool_inputs(piece); });
    inputs_ = join(INPUTS);
    const std::vector<Terms> hidden = terms(network_, read_, inputs_, threads());
    open_rows(read_.out);
    on_pieces([this, &hidden](Piece& piece) { pool_hidden(piece, hidden[piece.parameter]); });
    hidden_ = join(read_.out);
    std::vector<Terms> last = terms(network_, write_, hidden_, threads());
    for (size_t i = 0; settings_.centred && i < last.size(); ++i) {
      centre(network_.parameters[i], write_, hidden_[i], last[i]);
    }
    on_pieces([this, &hidden, &last](Piece& piece) {
      move(piece, hidden[piece.parameter], last[piece.parameter]);
    });
  }

  // Whether there is to be a way back.
  bool is_taped() const { return !network_.parameters.empty() && network_.parameters[0].tape; }

  int threads() const { return static_cast<int>(shares_.size()); }

  Parameter& of(const Piece& piece) { return network_.parameters[piece.parameter]; }

  template <class Body>
  void on_pieces(Body body) {
    const int threads = this->threads();
    Caught caught;
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static, 1)
    for (int t = 0; t < threads; ++t) {
      caught.run([&] {
        const Flush flush;
        for (Piece& piece : shares_[t]) body(piece);
      });
    }
    caught.pass_on();
  }

  // What is known of whole parameters, and how large their steps are.
  void describe() {
    std::vector<double> sums(network_.parameters.size() * SUMS);
    for (const auto& share : shares_) {
      for (const Piece& piece : share) {
        for (int k = 0; k < SUMS; ++k) sums[piece.parameter * SUMS + k] += piece.sums[k];
      }
    }
    for (size_t i = 0; i < network_.parameters.size(); ++i) {
      Parameter& p = network_.parameters[i];
      const double* of = &sums[i * SUMS];
      const float agreed = -cosine(of[DECAYS + 3], of[1], of[DECAYS + 4]);
      open(p, agreed, settings_);
      follow(*p.agreed, agreed, AGREED_DECAY);
      follow(*p.asked, cosine(of[DECAYS + 5], of[1], of[0]), ASKED_DECAY);
      scale(p, of, settings_);
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
    const long length = p.length(), width = p.tape ? padded(length, PANEL) : length;
    for (long row = piece.begin; row < piece.end; ++row) {
      Vec sums[INPUTS] = {};
      for (long e = 0; e < width; e += LANES) {
        Vec x[INPUTS];
        channels(p, row * length + e, length - e, x);
        for (int c = 0; c < INPUTS; ++c) {
          float* at = piece.columns[c] + e;
          sums[c] += x[c];
          store(at, load(at) + x[c]);
          if (p.tape) store(p.taped(row, c) + e, x[c]);
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
      if (p.tape) {
        store(p.taped(row, INPUTS) + e, magnitude);
        store(p.taped(row, INPUTS + 1) + e, shift);
      }
      magnitude = clamp(magnitude, -MAX_LOG_MAGNITUDE, MAX_LOG_MAGNITUDE);
      const Vec size = exp(p.trust * magnitude + p.log_size);
      moved += nfn::move(p, at, n, size, direction, sigmoid(p.trust * shift + p.recency));
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

}  // namespace nfn

// `SharedNPLinear` on networks of many shapes, and the way back through it.
//
// Network by network: its entries are read from memory, and stay in the cache until they are read
// again, to be multiplied and to have added what their sums say.

#include <cstdint>
#include <vector>

#include "border.h"
#include "flush.h"
#include "network.h"
#include "parallel.h"
#include "results.h"
#include "rows.h"
#include "weights.h"

namespace nfn {
namespace {

constexpr long AHEAD = 1024;  // floats that are asked for before they are read

// Networks whose entries are one table.
struct Block {
  int64_t first, count, entries;
};

// As the Python side writes it.
struct Task {
  const Block* blocks;
  int64_t count, threads;
  const Numbers* numbers;
  const Run* runs;
  const float* shares;

  // `f(block, its place)`, on all threads.
  template <class F>
  void each_block(F f) const {
    in_parallel(count, threads, [&](long i) { f(blocks[i], i); });
  }

  // `f(network, its numbers)`.
  template <class F>
  void each_network(const Block& block, F f) const {
    for (long i = block.first; i < block.first + block.count; ++i) {
      f(Network(numbers[i], runs, shares), numbers[i]);
    }
  }
};

// Asks for what follows some rows, for processors stop at the ends of pages.
void fetch(Table<const float> x, long rows) {
  for (long i = 0; i < rows * x.width; i += 16) __builtin_prefetch(x.begin + AHEAD + i);
}

// Adds a network's entries to its slots.
void pool_entries(const Network& network, const Numbers& numbers, Table<const float> table,
                  Tables& sums) {
  for (long k = 0; k < KINDS; ++k) {
    const Table<const float> entries = table.from(numbers.rows[k]);
    network.sections[ENTRIES + k].each([&](const Run& run, long row) {
      fetch(entries.from(row), run.count);
      pool(run, entries.from(row), sums.slots);
    });
  }
}

// Writes products of a network's entries, plus terms of their slots.
void map_entries(const Network& network, const Numbers& numbers, Table<const float> table,
                 const Maps& maps, const Tables& terms, const Results& results) {
  const long width = terms.slots.width;
  const bool are_registers = results.is_large() && results.has_registers(width);
  for (long k = 0; k < KINDS; ++k) {
    const Table<const float> entries = table.from(numbers.rows[k]);
    const Table<float> y{results.at(numbers.rows[k] * width), width};
    const Matrix& matrix = maps[ENTRIES + k];
    Writer writer(y.begin, results.is_large() && !are_registers ? CHUNK * width : 0);
    network.sections[ENTRIES + k].each([&](const Run& run, long row) {
      const Table<const float> x = entries.from(row);
      fetch(x, run.count);
      if (are_registers) return map<Streamed>(run, x, matrix, terms.slots, y.from(row));
      map(run, x, matrix, terms.slots, {writer.next(run.count * width), width});
    });
  }
}

}  // namespace
}  // namespace nfn

// Maps tables `(entries, in)` to `(entries, out)`, with the weights of a layer as `weights` has them,
// and terms `(parameters, out)`.
extern "C" int nfn_packed(const nfn::Task* task, const float* const* tables, int64_t in,
                          const float* const* tensors, const float* given, int64_t out,
                          float* const* results) try {
  using namespace nfn;
  const Flush flush;
  const Maps maps = nfn::maps(weights(tensors, out, in));
  const Table<const float> all{given, out};
  task->each_block([&](const Block& block, long i) {
    const Table<const float> x{tables[i], in};
    const Results y(results[i], block.entries * out);
    task->each_network(block, [&](const Network& network, const Numbers& numbers) {
      Tables means(network, in);
      pool_entries(network, numbers, x, means);
      average(means);
      const Table<const float> own[] = {all.from(numbers.parameters[0]),
                                        all.from(numbers.parameters[1])};
      map_entries(network, numbers, x, maps, terms(network, means, maps, own), y);
    });
  });
  return DONE;
} catch (...) {
  return nfn::outcome();
}

// From adjoints of results to those of tables, if there are any to write to, of weights, which are
// added, and of terms of parameters.
extern "C" int nfn_packed_back(const nfn::Task* task, const float* const* adjoints, int64_t out,
                               const float* const* tables, int64_t in,
                               const float* const* tensors, float* const* of_tensors,
                               float* of_given, float* const* of_tables) try {
  using namespace nfn;
  const Flush flush;
  const Maps maps = maps_back(weights(tensors, out, in));
  const auto gradients = weights(of_tensors, out, in);
  std::vector<Maps> parts(task->count, zeros(gradients));
  task->each_block([&](const Block& block, long i) {
    const Table<const float> x{tables[i], in}, g{adjoints[i], out};
    const Results of_x(of_tables ? of_tables[i] : nullptr, of_tables ? block.entries * in : 0);
    task->each_network(block, [&](const Network& network, const Numbers& numbers) {
      Tables means(network, in), sums(network, out);
      for (long k = 0; k < KINDS; ++k) {
        const Table<const float> a = g.from(numbers.rows[k]), b = x.from(numbers.rows[k]);
        network.sections[ENTRIES + k].each([&](const Run& run, long row) {
          fetch(a.from(row), run.count);
          fetch(b.from(row), run.count);
          pool(run, a.from(row), sums.slots);
          pool(run, b.from(row), means.slots);
          outer(run.count, a.from(row), b.from(row), parts[i][ENTRIES + k]);
        });
      }
      average(means);
      sums.add_slots_to_owners();
      sums.add_parameters_to_whole();
      outer(network, sums, means, parts[i]);
      for (long k = 0; k < KINDS; ++k) {
        const Table<float> own = sums.of(PARAMETERS + k);
        std::copy_n(own.begin, network.sections[PARAMETERS + k].size * out,
                    of_given + numbers.parameters[k] * out);
      }
      if (of_tables) map_entries(network, numbers, g, maps, back(network, sums, maps), of_x);
    });
  });
  for (const Maps& part : parts) add(part, gradients);
  return DONE;
} catch (...) {
  return nfn::outcome();
}

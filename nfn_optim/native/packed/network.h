// One network of a pack. Its entries belong to slots (outputs, inputs and taps of its parameters),
// slots to owners (neurons in their roles, and parameters), and parameters to the network: each is a
// table, whose rows are added up to those of the next one, or have added what the next one says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "rows.h"

namespace nfn {

constexpr long CHUNK = 128;  // rows that are worked on at a time
constexpr long ROLES = 3;    // of a neuron, one row after another
constexpr long KINDS = 2;    // weights and vectors

// Sections of tables: entries of weights and of vectors; outputs of weights, inputs of weights,
// outputs of vectors, and what has taps; weights and vectors. Each has a map, and so have neurons, of
// all their roles at once, and the network, of both kinds.
enum { ENTRIES = 0, SLOTS = 2, PARAMETERS = 6, SECTIONS = 8, NEURONS = 8, WHOLE = 9 };
using Maps = std::vector<Matrix>;

// As the Python side writes it.
struct Numbers {
  int64_t rows[KINDS];        // where its entries of weights and of vectors begin in their table
  int64_t parameters[KINDS];  // where its weights and its vectors begin among those of all
  int64_t neurons;
  int64_t run, share;                         // the first of each
  int64_t sizes[SECTIONS], counts[SECTIONS];  // rows and runs of each section
};

// Rows of a table that lie one after another.
struct Section {
  const Run* runs;
  long count, size;

  // `f(run, row)` for all runs, cut so that none is longer than a chunk.
  template <class F>
  void each(F f) const {
    long row = 0;
    for (const Run* run = runs; run < runs + count; ++run) {
      for (int32_t e = 0; e < run->count; e += CHUNK) {
        const Run part = run->part(e, std::min<int32_t>(CHUNK, run->count - e));
        f(part, row);
        row += part.count;
      }
    }
  }
};

inline void pool(const Section& section, Table<const float> x, Table<float> sums) {
  section.each([&](const Run& run, long row) { pool(run, x.from(row), sums); });
}

inline void map(const Section& section, Table<const float> x, const Matrix& matrix,
                Table<const float> terms, Table<float> y) {
  section.each([&](const Run& run, long row) { map(run, x.from(row), matrix, terms, y.from(row)); });
}

// Without anything that is added.
inline void map(long rows, Table<const float> x, const Matrix& matrix, Table<float> y) {
  map(Run{static_cast<int32_t>(rows), {-1, -1, -1}, {}}, x, matrix, {}, y);
}

struct Network {
  Section sections[SECTIONS];
  long neurons, slots = 0, owners;
  const float* shares;  // what a row counts in the mean of each slot, each owner, and the network

  Network(const Numbers& numbers, const Run* runs, const float* all_shares)
      : neurons(numbers.neurons), shares(all_shares + numbers.share) {
    const Run* run = runs + numbers.run;
    for (long k = 0; k < SECTIONS; ++k) {
      sections[k] = {run, long(numbers.counts[k]), long(numbers.sizes[k])};
      run += numbers.counts[k];
    }
    for (long k = SLOTS; k < PARAMETERS; ++k) slots += sections[k].size;
    owners = ROLES * neurons + sections[PARAMETERS].size + sections[PARAMETERS + 1].size;
  }
};

// The tables of a network but that of its entries.
class Tables {
 public:
  Tables(const Network& network, long width)
      : network_(network), numbers_((network.slots + network.owners + KINDS) * width) {
    slots = {numbers_.data(), width};
    owners = slots.from(network.slots);
    whole = owners.from(network.owners);
  }

  Tables(Tables&&) = default;

  // The rows of a section, or of neurons, all roles in one, or of the network, both kinds in one.
  Table<float> of(long map) const {
    if (map == NEURONS) return {owners.begin, ROLES * owners.width};
    if (map == WHOLE) return {whole.begin, KINDS * whole.width};
    const bool are_slots = map < PARAMETERS;
    Table<float> table = are_slots ? slots : owners.from(ROLES * network_.neurons);
    for (long k = are_slots ? SLOTS : PARAMETERS; k < map; ++k) {
      table = table.from(network_.sections[k].size);
    }
    return table;
  }

  void add_slots_to_owners() {
    for (long k = SLOTS; k < PARAMETERS; ++k) pool(network_.sections[k], of(k), owners);
  }

  void add_parameters_to_whole() {
    for (long k = PARAMETERS; k < SECTIONS; ++k) pool(network_.sections[k], of(k), whole);
  }

  // Products of another's rows, plus what is here already of the tables above.
  void map_whole(const Tables& from, const Maps& maps) {
    map(1, from.of(WHOLE), maps[WHOLE], of(WHOLE));
  }

  void map_owners(const Tables& from, const Maps& maps) {
    map(network_.neurons, from.of(NEURONS), maps[NEURONS], of(NEURONS));
    for (long k = PARAMETERS; k < SECTIONS; ++k) {
      map(network_.sections[k], from.of(k), maps[k], whole, of(k));
    }
  }

  void map_slots(const Tables& from, const Maps& maps) {
    for (long k = SLOTS; k < PARAMETERS; ++k) {
      map(network_.sections[k], from.of(k), maps[k], owners, of(k));
    }
  }

  // From sums to means, or from adjoints of means to those of sums.
  void scale_slots() { scale(slots, network_.slots, network_.shares); }
  void scale_owners() { scale(owners, network_.owners, network_.shares + network_.slots); }
  void scale_whole() { scale(whole, KINDS, network_.shares + network_.slots + network_.owners); }

  Table<float> slots, owners, whole;

 private:
  const Network& network_;
  std::vector<float> numbers_;
};

// Means of all tables, whose slots are sums.
inline void average(Tables& tables) {
  tables.scale_slots();
  tables.add_slots_to_owners();
  tables.scale_owners();
  tables.add_parameters_to_whole();
  tables.scale_whole();
}

// What is added to the rows of each table, from means, and from what is given for parameters.
inline Tables terms(const Network& network, const Tables& means, const Maps& maps,
                    const Table<const float> (&given)[KINDS]) {
  Tables result(network, given[0].width);
  result.map_whole(means, maps);
  result.map_owners(means, maps);
  for (long k = 0; k < KINDS; ++k) {
    Table<float> to = result.of(PARAMETERS + k);
    add(given[k].begin, to.begin, network.sections[PARAMETERS + k].size * to.width);
  }
  result.map_slots(means, maps);
  return result;
}

// Adjoints of sums from those of terms.
inline Tables back(const Network& network, const Tables& adjoints, const Maps& maps) {
  Tables result(network, maps[ENTRIES].columns());
  result.map_whole(adjoints, maps);
  result.scale_whole();
  result.map_owners(adjoints, maps);
  result.scale_owners();
  result.map_slots(adjoints, maps);
  result.scale_slots();
  return result;
}

// Adds up products of adjoints of terms with means.
inline void outer(const Network& network, const Tables& adjoints, const Tables& means, Maps& sums) {
  for (long k = SLOTS; k < SECTIONS; ++k) {
    outer(network.sections[k].size, adjoints.of(k), means.of(k), sums[k]);
  }
  outer(network.neurons, adjoints.of(NEURONS), means.of(NEURONS), sums[NEURONS]);
  outer(1, adjoints.of(WHOLE), means.of(WHOLE), sums[WHOLE]);
}

}  // namespace nfn

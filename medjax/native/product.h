// Products in registers, which all convolutions are made of.

#ifndef MEDJAX_NATIVE_PRODUCT_H_
#define MEDJAX_NATIVE_PRODUCT_H_

#include "common.h"

constexpr int kMostVectors = kRegisters == 32 ? 4 : 2;
constexpr int kMostPixels = 11;   // a pointer each in a register

// Features in blocks of at most so many vectors, as equal as can be.
struct Block {
  i64 feature;
  int vectors;
};

static std::vector<Block> Blocks(i64 features, int most) {
  const i64 vectors = Padded(features) / kLanes, count = (vectors + most - 1) / most;
  std::vector<Block> blocks;
  for (i64 i = 0, at = 0; i < count; ++i) {
    const i64 size = (vectors - at + count - i - 1) / (count - i);
    blocks.push_back({at * kLanes, static_cast<int>(size)});
    at += size;
  }
  return blocks;
}

constexpr int PixelsOf(int vectors) {
  return std::min((kRegisters - vectors - 2) / vectors, kMostPixels);  // a sum each in a register
}

// Some pixels times a panel: P pixels, V vectors of features. `find(run, at)` sets the pointers of
// the pixels to a run of `length` numbers; `out` is the first pixel's first feature of this block,
// of which the first `some` pixels and `features` features are written.
template <int P, int V, typename Find>
static void Multiply(const Find& find, i64 count, i64 length, const float* panel, float* out,
                     i64 pitch, i64 some, i64 features) {
  Vector sums[P][V] = {};
  for (i64 run = 0; run < count; ++run) {
    const float* at[P];
    find(run, at);
    for (i64 k = 0; k < length; ++k, panel += V * kLanes) {
      Vector weights[V];
      for (int v = 0; v < V; ++v) weights[v] = Load(panel + v * kLanes);
      for (int p = 0; p < P; ++p)
        for (int v = 0; v < V; ++v) sums[p][v] += at[p][k] * weights[v];
    }
  }
  for (i64 p = 0; p < some; ++p)
    for (int v = 0; v < V; ++v) {
      float* to = out + p * pitch + v * kLanes;
      const i64 left = features - v * kLanes;
      if (left >= kLanes) Store(to, sums[p][v]);
      else if (left > 0) std::memcpy(to, &sums[p][v], 4 * left);
    }
}

// R input channels times V vectors of features, summed over all pixels of the rows, added to `to`.
template <int R, int V>
static void Gather(const std::vector<Row>& rows, i64 channel, i64 feature, i64 image_step,
                   i64 gradient_step, float* to, i64 pitch, i64 features) {
  Vector sums[R][V] = {};
  for (const Row& row : rows) {
    const float *x = row.images + channel, *g = row.gradient + feature;
    for (i64 i = 0; i < row.count; ++i, x += image_step, g += gradient_step) {
      Vector gradient[V];
      for (int v = 0; v < V; ++v) gradient[v] = Load(g + v * kLanes);
      for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) sums[r][v] += x[r] * gradient[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) {
      const float* sum = reinterpret_cast<const float*>(&sums[r][v]);
      const i64 some = std::min<i64>(kLanes, features - v * kLanes);
      for (i64 lane = 0; lane < some; ++lane) to[r * pitch + v * kLanes + lane] += sum[lane];
    }
}

template <int V>
static void GatherAll(const std::vector<Row>& rows, i64 channels, i64 feature, i64 image_step,
                      i64 gradient_step, float* to, i64 pitch, i64 features) {
  constexpr int R = std::min((kRegisters - V - 2) / V, 14);
  for (i64 c = 0, left; (left = channels - c) > 0;) {
    const auto gather = [&](auto count) {
      constexpr int r = decltype(count)::value;
      Gather<r, V>(rows, c, feature, image_step, gradient_step, to + c * pitch, pitch, features);
      c += r;
    };
    // As many as there are registers for, unless that would leave a few that are slow by themselves.
    if (left == R || left >= R + 4) gather(std::integral_constant<int, R>());
    else if (R > 8 && left >= 8) gather(std::integral_constant<int, 8>());
    else if (left >= 4) gather(std::integral_constant<int, 4>());
    else gather(std::integral_constant<int, 1>());
  }
}

#endif  // MEDJAX_NATIVE_PRODUCT_H_

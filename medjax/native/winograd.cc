// Winograd's minimal filtering over height and width (Lavin and Gray, 2016, arXiv:1509.09308): a
// kernel `taps` wide and a tile of 6 x 6 pixels are carried to 36 points, multiplied there channel
// by channel, and the products carried back to (7 - taps)^2 outputs. Of 3 taps that takes a quarter
// of the multiplications, of 5 a third. Depth taps are summed between the two.
//
// The points are 0, 2/3, -2/3, 3/2, -3/2 and infinity. With them errors are 1.6 times those of the
// plain sum (3 taps, 64 channels); with the usual 0, 1, -1, 2, -2 they are 5 times as large.

#include "winograd.h"

#include "tiles.h"

constexpr i64 kBlockBytes = 1 << 20;  // of tiles at their points: they stay in the second cache
constexpr i64 kFewTiles = 128;        // at fewer, reading a kernel at its points takes too long
constexpr i64 kRows = 16;             // of a kernel, that a thread takes at a time
constexpr i64 kSumsBytes = 1 << 25, kMostShares = 16;  // of sums of a kernel's gradient
constexpr i64 kPart = 4;                               // blocks of features, at least, of a part

// Calls work(row) for each depth tap and channel of a kernel, in threads.
template <typename Work>
static void ForRows(ffi::ThreadPool& pool, i64 rows, const Work& work) {
  ParallelFor(pool, (rows + kRows - 1) / kRows, [&](i64 some) {
    for (i64 row = some * kRows; row < std::min((some + 1) * kRows, rows); ++row) work(row);
  });
}

// Where the first of a row's taps lies in a kernel; the next is in * out numbers further on.
static i64 TapOf(const Sizes& s, i64 row) {
  return (row / s.in * s.kernel[1] * s.kernel[2] * s.in + row % s.in) * s.out;
}

// [kd, taps, taps, in, out] -> at each point the panels of each block, [kd * in, features].
template <int taps>
static Scratch TransformKernel(ffi::ThreadPool& pool, const Sizes& s, const float* kernel,
                               const std::vector<Block>& blocks) {
  const i64 rows = s.kernel[0] * s.in, padded = Padded(s.out);
  Scratch panels = Allocate(kPoints * rows * padded);
  ForRows(pool, rows, [&](i64 row) {
    for (const Block& block : blocks)
      for (int v = 0; v < block.vectors; ++v) {
        const i64 feature = block.feature + v * kLanes;
        const float* from = kernel + TapOf(s, row) + feature;
        Vector numbers[taps * taps], points[kPoints];
        for (int i = 0; i < taps * taps; ++i)
          numbers[i] = LoadSome(from + i * s.in * s.out, s.out - feature);
        Transform<Spread<taps>>(numbers, points);
        float* to = panels.get() + rows * block.feature + row * block.vectors * kLanes;
        for (int point = 0; point < kPoints; ++point)
          Store(to + point * rows * padded + v * kLanes, Scale(point) * points[point]);
      }
  });
  return panels;
}

// --- the forward pass

// The products of `count` tiles at one point with one block; runs[k] of the first tile's k-th run.
template <int V>
static void MultiplyTiles(const Sizes& s, const Tiling& t, const std::vector<const float*>& runs,
                          i64 count, const float* panel, const Block& block, float* products) {
  constexpr int P = PixelsOf(V);
  const i64 pitch = Pitch(s.out);
  for (i64 tile = 0; tile < count; tile += P) {
    const i64 some = std::min<i64>(P, count - tile);
    const auto find = [&](i64 run, const float** at) {
      for (int p = 0; p < P; ++p) at[p] = runs[run] + std::min(tile + p, count - 1) * t.pitch;
    };
    Multiply<P, V>(find, t.runs, t.length, panel, products + tile * pitch + block.feature, pitch,
                   some, s.out - block.feature);
  }
}

template <int taps>
static void WriteTile(const Sizes& s, const Tiling& t, const float* products, i64 apart, i64 tile,
                      i64 depth, float* out) {
  constexpr int side = kTile + 1 - taps;
  const Corner at = CornerOf(t, tile);
  float* plane = out + (at.image * s.result[0] + depth) * s.result[1] * s.result[2] * s.out;
  const i64 rows = std::min<i64>(side, s.result[1] - at.y);
  const i64 columns = std::min<i64>(side, s.result[2] - at.x);
  for (i64 feature = 0; feature < s.out; feature += kLanes) {
    Vector points[kPoints], outputs[side * side];
    for (int point = 0; point < kPoints; ++point)
      points[point] = Load(products + point * apart + feature);
    Transform<Collect<side>>(points, outputs);
    for (i64 i = 0; i < rows; ++i)
      for (i64 j = 0; j < columns; ++j)
        StoreSome(plane + ((at.y + i) * s.result[2] + at.x + j) * s.out + feature,
                  outputs[i * side + j], s.out - feature);
  }
}

template <int taps>
static void ConvolveTiles(const Sizes& s, const Tiling& t, const float* images,
                          const float* panels, const std::vector<Block>& blocks, i64 first,
                          i64 last, float* out) {
  const i64 count = last - first, kept = s.kernel[0], rows = kept * s.in;  // a ring of planes
  const i64 padded = Padded(s.out), pitch = Pitch(s.out);
  const i64 in_apart = t.Size(count, kept), out_apart = count * pitch;
  Scratch tiles = Allocate(kPoints * in_apart), products = Allocate(kPoints * out_apart);
  std::vector<const float*> runs(t.runs);
  for (i64 depth = 0, next = 0; depth < s.result[0]; ++depth) {
    for (; next < depth + kept; ++next)
      for (i64 i = 0; i < count; ++i)
        TransformImage(s, t, images, first + i, next,
                       tiles.get() + t.PlaneAt(s, count, kept, next) + i * t.pitch, in_apart);
    for (int point = 0; point < kPoints; ++point) {
      for (i64 k = 0; k < t.runs; ++k)
        runs[k] = tiles.get() + point * in_apart + t.PlaneAt(s, count, kept, depth + k);
      for (const Block& block : blocks) {
        const float* panel = panels + point * rows * padded + rows * block.feature;
        const auto multiply = block.vectors == 1   ? MultiplyTiles<1>
                              : block.vectors == 2 ? MultiplyTiles<2>
                              : block.vectors == 3 ? MultiplyTiles<3>
                                                   : MultiplyTiles<4>;
        multiply(s, t, runs, count, panel, block, products.get() + point * out_apart);
      }
    }
    for (i64 i = 0; i < count; ++i)
      WriteTile<taps>(s, t, products.get() + i * pitch, out_apart, first + i, depth, out);
  }
}

template <int taps>
static void Forward(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                    const float* kernel, float* out) {
  const Tiling t(s, taps);
  const auto blocks = Blocks(s.out, kMostVectors);
  const Scratch panels = TransformKernel<taps>(pool, s, kernel, blocks);
  const i64 bytes = 4 * kPoints * (t.Size(1, s.kernel[0]) + Pitch(s.out));
  const i64 even = (t.count + pool.num_threads() - 1) / pool.num_threads();
  const i64 together = PixelsOf(blocks[0].vectors);  // a chunk is a multiple of these
  const i64 fitting = std::clamp<i64>(kBlockBytes / bytes / together, 3, 24) * together;
  const i64 chunk = std::min(fitting, even);
  ParallelFor(pool, (t.count + chunk - 1) / chunk, [&](i64 i) {
    ConvolveTiles<taps>(s, t, images, panels.get(), blocks, i * chunk,
                        std::min((i + 1) * chunk, t.count), out);
  });
}

// --- the gradient of the kernel

// Of a tile of the output's gradient, at a depth, the features `low` to `high`.
template <int taps>
static void TransformGradient(const Sizes& s, const Tiling& t, const float* gradient, i64 tile,
                              i64 depth, i64 low, i64 high, float* to, i64 apart) {
  constexpr int side = kTile + 1 - taps;
  const Corner at = CornerOf(t, tile);
  const i64 size = s.result[1] * s.result[2] * s.out;
  const float *plane = gradient + (at.image * s.result[0] + depth) * size,
              *end = gradient + s.batch * s.result[0] * size;
  for (i64 feature = low; feature < high; feature += kLanes) {
    Vector numbers[side * side], points[kPoints];
    LoadSquare<side>(plane, s.result[1], s.result[2], at.y, at.x, s.out, feature, end, numbers);
    Transform<Spread<side>>(numbers, points);
    for (int point = 0; point < kPoints; ++point)
      Store(to + point * apart + feature - low, points[point]);
  }
}

// Sums at the points, [share, point, kd * in, padded features] -> a row of [kd, taps, taps, in, out].
template <int taps>
static void WriteRow(const Sizes& s, const float* sums, i64 shares, i64 row, float* out) {
  const i64 rows = s.kernel[0] * s.in, padded = Padded(s.out);
  for (i64 feature = 0; feature < s.out; feature += kLanes) {
    Vector points[kPoints] = {}, numbers[taps * taps];
    for (i64 share = 0; share < shares; ++share)
      for (int point = 0; point < kPoints; ++point)
        points[point] += Load(sums + ((share * kPoints + point) * rows + row) * padded + feature);
    for (int point = 0; point < kPoints; ++point) points[point] *= Scale(point);
    Transform<Collect<taps>>(points, numbers);
    float* to = out + TapOf(s, row) + feature;
    for (int i = 0; i < taps * taps; ++i)
      StoreSome(to + i * s.in * s.out, numbers[i], s.out - feature);
  }
}

// Adds what the tiles `first` to `last` give to the features of some blocks.
template <int taps>
static void GatherTiles(const Sizes& s, const Tiling& t, const float* images,
                        const float* gradient, const Block* begin, const Block* end, i64 first,
                        i64 last, float* sums) {
  const i64 rows = s.kernel[0] * s.in, padded = Padded(s.out);
  const i64 low = begin->feature, high = std::min(s.out, end[-1].feature + end[-1].vectors * kLanes);
  const i64 pitch = Pitch(high - low), few = (kFewTiles + s.result[0] - 1) / s.result[0];
  const i64 bytes = 4 * kPoints * (t.Size(1, t.planes) + s.result[0] * pitch);
  const i64 chunk = std::min(std::max(kBlockBytes / bytes, few), last - first);
  const i64 in_apart = t.Size(chunk, t.planes), out_plane = chunk * pitch;
  const i64 out_apart = s.result[0] * out_plane;
  Scratch tiles = Allocate(kPoints * in_apart), slopes = Allocate(kPoints * out_apart);
  std::vector<Row> pairs(s.result[0]);
  for (i64 row = 0; row < kPoints * rows; ++row)
    std::fill_n(sums + row * padded + low, Padded(high - low), 0.0f);
  const auto plane_at = [&](i64 plane) { return t.PlaneAt(s, chunk, t.planes, plane); };
  for (; first < last; first += chunk) {
    const i64 count = std::min(chunk, last - first);
    for (i64 i = 0; i < count; ++i) {
      for (i64 plane = 0; plane < t.planes; ++plane)
        TransformImage(s, t, images, first + i, plane,
                       tiles.get() + plane_at(plane) + i * t.pitch, in_apart);
      for (i64 depth = 0; depth < s.result[0]; ++depth)
        TransformGradient<taps>(s, t, gradient, first + i, depth, low, high,
                                slopes.get() + depth * out_plane + i * pitch, out_apart);
    }
    for (int point = 0; point < kPoints; ++point)
      for (const Block* block = begin; block < end; ++block)
        for (i64 run = 0; run < t.runs; ++run) {
          for (i64 depth = 0; depth < s.result[0]; ++depth)
            pairs[depth] = {tiles.get() + point * in_apart + plane_at(depth + run),
                            slopes.get() + point * out_apart + depth * out_plane, count};
          float* to = sums + (point * rows + run * t.length) * padded + block->feature;
          const auto gather = block->vectors == 1 ? GatherAll<1> : GatherAll<2>;
          gather(pairs, t.length, block->feature - low, t.pitch, pitch, to, padded,
                 padded - block->feature);
        }
  }
}

// The tiles go to a few shares, each with sums of its own, that are added in the end: how many does
// not depend on the threads. Of large kernels, whose sums are large, shares are few: they have a part
// of the features each instead.
template <int taps>
static void KernelGradient(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                           const float* gradient, float* out) {
  const Tiling t(s, taps);
  const auto blocks = Blocks(s.out, 2);
  const i64 rows = s.kernel[0] * s.in, padded = Padded(s.out);
  const i64 size = kPoints * rows * padded;
  const i64 most = std::clamp<i64>(t.count * s.result[0] / kFewTiles, 1, kMostShares);
  const i64 shares = std::clamp<i64>(kSumsBytes / (4 * size), 1, most);
  const i64 all = blocks.size(), parts = shares < 8 ? std::max<i64>(all / kPart, 1) : 1;
  Scratch sums = Allocate(shares * size);
  ParallelFor(pool, shares * parts, [&](i64 unit) {
    const i64 share = unit / parts, part = unit % parts;
    GatherTiles<taps>(s, t, images, gradient, blocks.data() + all * part / parts,
                      blocks.data() + all * (part + 1) / parts, t.count * share / shares,
                      t.count * (share + 1) / shares, sums.get() + share * size);
  });
  ForRows(pool, rows, [&](i64 row) { WriteRow<taps>(s, sums.get(), shares, row, out); });
}

// --- what is offered

bool WinogradPays(const Sizes& s) {
  const i64 taps = s.kernel[1];
  const bool square = taps == s.kernel[2] && taps >= 3 && taps <= 5;
  const bool deep = s.kernel[0] * s.in >= kLanes && s.out >= kLanes;
  if (!square || !deep || s.stride != std::array<i64, 3>{1, 1, 1}) return false;
  const Tiling t(s, static_cast<int>(taps));
  const i64 tiles = t.count * s.result[0];
  // Images of a few pixels leave tiles half empty.
  return 2 * tiles >= kFewTiles && 2 * tiles * kPoints <= s.pixels() * taps * taps;
}

// Calls work with the taps as a constant.
template <typename Work>
static void WithTaps(i64 taps, const Work& work) {
  if (taps == 3) return work(std::integral_constant<int, 3>());
  if (taps == 4) return work(std::integral_constant<int, 4>());
  work(std::integral_constant<int, 5>());
}

void WinogradForward(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                     const float* kernel, float* out) {
  WithTaps(s.kernel[1], [&](auto taps) {
    Forward<decltype(taps)::value>(pool, s, images, kernel, out);
  });
}

void WinogradKernelGradient(ffi::ThreadPool& pool, const Sizes& s, const float* images,
                            const float* gradient, float* out) {
  WithTaps(s.kernel[1], [&](auto taps) {
    KernelGradient<decltype(taps)::value>(pool, s, images, gradient, out);
  });
}

// Depthwise convolutions in float32 for a CPU, channels last: each channel with a kernel of its own.
//
// Images are [batch, depth, height, width, channel], kernels [kd, kh, kw, 1, channel]. Channels lie
// side by side, so a vector of them is summed over all taps, or over all pixels, in registers.

#include "common.h"

constexpr int kPixels = 4, kVectors = 2;  // of the forward pass, at a time
constexpr i64 kChunkNumbers = 16384;      // of the kernel's gradient: they stay in the second cache

// A row of the image that a row of the kernel meets, and that row of the kernel.
struct Run {
  const float *image, *kernel;
};

// P output pixels from column `column` on, whose taps `begin` to `end` lie inside the image.
template <int P, int V>
static void Sum(const Sizes& s, const std::vector<Run>& runs, i64 channel, i64 column, i64 begin,
                i64 end, float* out) {
  const i64 step = s.stride[2] * s.in, first = (column * s.stride[2] - s.low[2]) * s.in + channel;
  Vector sums[P][V] = {};
  for (const Run& run : runs)
    for (i64 tap = begin; tap < end; ++tap) {
      const float *x = run.image + first + tap * s.in, *w = run.kernel + channel + tap * s.in;
      for (int v = 0; v < V; ++v) {
        const Vector weights = Load(w + v * kLanes);
        for (int p = 0; p < P; ++p) sums[p][v] += Load(x + p * step + v * kLanes) * weights;
      }
    }
  for (int p = 0; p < P; ++p)
    for (int v = 0; v < V; ++v) Store(out + (column + p) * s.in + channel + v * kLanes, sums[p][v]);
}

// The same of one pixel and of the channels from `channel` on, fewer than a vector.
static void SumRest(const Sizes& s, const std::vector<Run>& runs, i64 channel, i64 column,
                    i64 begin, i64 end, float* out) {
  const i64 first = (column * s.stride[2] - s.low[2]) * s.in, rest = s.in - channel;
  float sums[kLanes] = {};
  for (const Run& run : runs)
    for (i64 tap = begin; tap < end; ++tap) {
      const float *x = run.image + first + tap * s.in + channel;
      const float *w = run.kernel + tap * s.in + channel;
      for (i64 c = 0; c < rest; ++c) sums[c] += x[c] * w[c];
    }
  std::copy_n(sums, rest, out + column * s.in + channel);
}

// Some pixels of an output row, of all channels.
template <int P>
static void SumChannels(const Sizes& s, const std::vector<Run>& runs, i64 column, i64 begin, i64 end,
                        float* out) {
  i64 c = 0;
  for (; c + kVectors * kLanes <= s.in; c += kVectors * kLanes)
    Sum<P, kVectors>(s, runs, c, column, begin, end, out);
  for (; c + kLanes <= s.in; c += kLanes) Sum<P, 1>(s, runs, c, column, begin, end, out);
  if (c < s.in)
    for (int p = 0; p < P; ++p) SumRest(s, runs, c, column + p, begin, end, out);
}

static ffi::Error Forward(ffi::ThreadPool pool, Numbers images, Numbers kernel,
                          ffi::Result<Numbers> out, Three stride, Three low) {
  const Sizes s = SizesOf(images.dimensions(), kernel.dimensions(), out->dimensions(), stride, low);
  const i64 lines = s.batch * s.result[0] * s.result[1], taps = s.kernel[2];
  const Columns inner{Reach(s, 0).begin, Reach(s, taps - 1).end};
  const i64 shares = std::min<i64>(lines, 8 * pool.num_threads());
  ParallelFor(pool, shares, [&](i64 share) {
    std::vector<Line> rows;
    std::vector<Run> runs;
    const i64 first = lines * share / shares, last = lines * (share + 1) / shares;
    float* begin = out->typed_data() + first * s.result[2] * s.in;
    FindLines(s, images.typed_data(), begin, s.in, first, last, rows);
    for (i64 i = 0; i < last - first; ++i) {
      const Line& line = rows[i];
      runs.clear();
      for (i64 d = 0; d < s.kernel[0]; ++d)
        for (i64 h = 0; h < s.kernel[1]; ++h) {
          const i64 at_d = line.d + d, at_h = line.h + h;
          if (at_d < 0 || at_d >= s.image[0] || at_h < 0 || at_h >= s.image[1]) continue;
          runs.push_back({line.image + (at_d * s.image[1] + at_h) * s.image[2] * s.in,
                          kernel.typed_data() + (d * s.kernel[1] + h) * s.run()});
        }
      float* to = begin + i * s.result[2] * s.in;
      for (i64 column = 0; column < s.result[2];) {
        if (column >= inner.begin && column + kPixels <= inner.end) {
          SumChannels<kPixels>(s, runs, column, 0, taps, to);
          column += kPixels;
          continue;
        }
        const i64 at = column * s.stride[2] - s.low[2];
        const i64 reach = std::clamp<i64>(-at, 0, taps);
        SumChannels<1>(s, runs, column, reach, std::clamp<i64>(s.image[2] - at, reach, taps), to);
        ++column;
      }
    }
  });
  return ffi::Error::Success();
}

// --- the gradient of the kernel

template <int V>
static void Gather(const std::vector<Row>& rows, i64 channel, i64 image_step, i64 gradient_step,
                   float* to) {
  Vector sums[V] = {};
  for (const Row& row : rows) {
    const float *x = row.images + channel, *g = row.gradient + channel;
    for (i64 i = 0; i < row.count; ++i, x += image_step, g += gradient_step)
      for (int v = 0; v < V; ++v) sums[v] += Load(x + v * kLanes) * Load(g + v * kLanes);
  }
  for (int v = 0; v < V; ++v)
    Store(to + channel + v * kLanes, Load(to + channel + v * kLanes) + sums[v]);
}

// One tap of the kernel, of all channels.
static void GatherChannels(const Sizes& s, const std::vector<Row>& rows, float* to) {
  const i64 image_step = s.stride[2] * s.in;
  i64 c = 0;
  for (; c + 4 * kLanes <= s.in; c += 4 * kLanes) Gather<4>(rows, c, image_step, s.in, to);
  for (; c + kLanes <= s.in; c += kLanes) Gather<1>(rows, c, image_step, s.in, to);
  if (c == s.in) return;
  for (const Row& row : rows)
    for (i64 i = 0; i < row.count; ++i)
      for (i64 k = c; k < s.in; ++k)
        to[k] += row.images[i * image_step + k] * row.gradient[i * s.in + k];
}

static ffi::Error KernelGradient(ffi::ThreadPool pool, Numbers images, Numbers gradient,
                                 ffi::Result<Numbers> out, Three stride, Three low) {
  const Sizes s =
      SizesOf(images.dimensions(), out->dimensions(), gradient.dimensions(), stride, low);
  const i64 lines = s.batch * s.result[0] * s.result[1], taps = s.runs() * s.kernel[2];
  const i64 lines_a_chunk = std::max<i64>(kChunkNumbers / (s.result[2] * s.in + 1), 1);
  float* sums = out->typed_data();
  std::fill_n(sums, taps * s.in, 0.0f);
  const i64 shares = std::min<i64>(taps, pool.num_threads());
  // Each share of the taps goes through all images, a few rows at a time.
  ParallelFor(pool, shares, [&](i64 share) {
    std::vector<Row> rows;
    std::vector<Line> chunk;
    for (i64 first = 0; first < lines; first += lines_a_chunk) {
      const i64 last = std::min(first + lines_a_chunk, lines);
      const float* g = gradient.typed_data() + first * s.result[2] * s.in;
      FindLines(s, images.typed_data(), g, s.in, first, last, chunk);
      for (i64 tap = taps * share / shares; tap < taps * (share + 1) / shares; ++tap) {
        const i64 run = tap / s.kernel[2], column = tap % s.kernel[2];
        rows.clear();
        AddRows(s, chunk, s.in, run, column, Reach(s, column), rows);
        GatherChannels(s, rows, sums + tap * s.in);
      }
    }
  });
  return ffi::Error::Success();
}

MEDJAX_CONVOLUTION(medjax_depthwise_forward, Forward);
MEDJAX_CONVOLUTION(medjax_depthwise_kernel_gradient, KernelGradient);

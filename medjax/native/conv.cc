// Convolutions in float32 for a CPU, channels last, as custom calls of a compiled program.
//
// Images are [batch, depth, height, width, in], kernels [kd, kh, kw, in, out]; a 2-D convolution has
// depth 1. Nothing is unfolded in memory: the window of an output pixel is kd * kh runs of kw * in
// numbers that already lie side by side, so the forward pass is a product of a few pixels, each by
// its own pointer, with a panel of the kernel, summed in registers. The kernel's gradient sums, for a
// few input channels and output features at a time, over all pixels in registers. Sums are taken in
// an order that does not depend on the number of threads. Where fewer products do, `winograd.cc`.

#include "winograd.h"

constexpr i64 kNarrow = 16;       // runs shorter than this are copied side by side first
constexpr i64 kFewChannels = 8;
constexpr i64 kChunkNumbers = 6144;  // of a kernel's gradient: they stay in the first cache

// [window, out] -> of each block [window, vectors * kLanes], zero behind the last feature.
static std::vector<float> Panels(const float* kernel, i64 window, i64 out,
                                 const std::vector<Block>& blocks) {
  const i64 padded = Padded(out);
  std::vector<float> panels(window * padded);
  for (const Block& block : blocks) {
    const i64 wide = block.vectors * kLanes, some = std::min(wide, out - block.feature);
    float* to = panels.data() + window * block.feature;
    for (i64 row = 0; row < window; ++row)
      std::copy_n(kernel + row * out + block.feature, some, to + row * wide);
  }
  return panels;
}

// Where an output pixel's window begins: its image, and depth, height and width there.
struct Place {
  const float* image;
  std::array<i64, 3> at;
};

// Where the runs of windows begin.
class Windows {
 public:
  explicit Windows(const Sizes& sizes)
      : s_(sizes), zeros_(sizes.run(), 0.0f), copies_(kMostPixels * sizes.window()) {
    for (i64 d = 0; d < s_.kernel[0]; ++d)
      for (i64 h = 0; h < s_.kernel[1]; ++h) steps_.push_back(Offset(d, h));
  }

  Place Begin(const float* images, i64 pixel) const {
    Place place;
    for (int axis = 2; axis >= 0; pixel /= s_.result[axis--])
      place.at[axis] = pixel % s_.result[axis] * s_.stride[axis] - s_.low[axis];
    place.image = images + pixel * Offset(s_.image[0], 0);
    return place;
  }

  // Goes to the next pixel.
  void Advance(Place& place) const {
    for (int axis = 2; axis >= 0; --axis) {
      place.at[axis] += s_.stride[axis];
      if (place.at[axis] < s_.result[axis] * s_.stride[axis] - s_.low[axis]) return;
      place.at[axis] = -s_.low[axis];
    }
    place.image += Offset(s_.image[0], 0);
  }

  // From a window's first run to each, where it lies inside the image.
  const std::vector<i64>& steps() const { return steps_; }

  // Where a window's first run begins, or null if the window reaches over the edge.
  const float* First(const Place& place) const {
    for (int axis = 0; axis < 3; ++axis)
      if (place.at[axis] < 0 || place.at[axis] + s_.kernel[axis] > s_.image[axis]) return nullptr;
    return place.image + Offset(place.at[0], place.at[1]) + place.at[2] * s_.in;
  }

  // Puts the beginnings of all runs of a window at runs[0], runs[count], ...; `slot` is its own
  // place for copies, below `count`.
  void Find(const Place& place, int slot, int count, const float** runs) {
    if (const float* first = First(place)) {
      for (i64 step : steps_) *runs = first + step, runs += count;
      return;
    }
    float* copy = copies_.data() + slot * s_.window();
    for (i64 d = 0; d < s_.kernel[0]; ++d)
      for (i64 h = 0; h < s_.kernel[1]; ++h, runs += count, copy += s_.run())
        *runs = Run(place, d + place.at[0], h + place.at[1], copy);
  }

  // One long run instead: all of a window side by side.
  const float* Copy(int slot, int count, const float** runs) {
    float* copy = copies_.data() + slot * s_.window();
    for (i64 i = 0; i < s_.runs(); ++i)
      if (float* to = copy + i * s_.run(); to != runs[i * count])
        for (i64 k = 0; k < s_.run(); ++k) to[k] = runs[i * count][k];
    return copy;
  }

 private:
  i64 Offset(i64 d, i64 h) const { return (d * s_.image[1] + h) * s_.image[2] * s_.in; }

  // A run that may reach over the edge, where the image is zero.
  const float* Run(const Place& place, i64 d, i64 h, float* copy) {
    if (d < 0 || d >= s_.image[0] || h < 0 || h >= s_.image[1]) return zeros_.data();
    const float* row = place.image + Offset(d, h);
    const i64 w = place.at[2];
    if (w >= 0 && w + s_.kernel[2] <= s_.image[2]) return row + w * s_.in;
    const i64 first = std::clamp<i64>(-w, 0, s_.kernel[2]);
    const i64 last = std::clamp<i64>(s_.image[2] - w, first, s_.kernel[2]);
    std::fill(copy, copy + first * s_.in, 0.0f);
    std::copy(row + (w + first) * s_.in, row + (w + last) * s_.in, copy + first * s_.in);
    std::fill(copy + last * s_.in, copy + s_.run(), 0.0f);
    return copy;
  }

  const Sizes& s_;
  std::vector<float> zeros_, copies_;
  std::vector<i64> steps_;
};

// The pixels `first` to `last` of one block of features.
template <int V>
static void Convolve(const Sizes& s, const float* images, const float* panel, const Block& block,
                     i64 first, i64 last, float* out) {
  constexpr int P = PixelsOf(V);
  Windows windows(s);
  const bool narrow = s.run() < kNarrow && s.runs() > 1;
  const i64 features = std::min<i64>(V * kLanes, s.out - block.feature);
  std::vector<const float*> runs(P * s.runs());
  Place next = windows.Begin(images, first), places[P];
  const float* begins[P];
  for (i64 pixel = first; pixel < last; pixel += P) {
    const i64 some = std::min<i64>(P, last - pixel);
    bool inside = !narrow;
    for (int p = 0; p < P; ++p) {
      places[p] = p < some ? next : places[0];  // behind the end: computed, not written
      begins[p] = windows.First(places[p]);
      inside &= begins[p] != nullptr;
      if (p < some) windows.Advance(next);
    }
    float* to = out + pixel * s.out + block.feature;
    if (inside) {
      const i64* steps = windows.steps().data();
      const auto find = [&](i64 run, const float** at) {
        for (int p = 0; p < P; ++p) at[p] = begins[p] + steps[run];
      };
      Multiply<P, V>(find, s.runs(), s.run(), panel, to, s.out, some, features);
      continue;
    }
    for (int p = 0; p < P; ++p) {
      windows.Find(places[p], p, P, runs.data() + p);
      if (narrow) begins[p] = windows.Copy(p, P, runs.data() + p);
    }
    const float* const* from = narrow ? begins : runs.data();
    const auto find = [&](i64 run, const float** at) { std::copy_n(from + run * P, P, at); };
    const i64 count = narrow ? 1 : s.runs(), length = narrow ? s.window() : s.run();
    Multiply<P, V>(find, count, length, panel, to, s.out, some, features);
  }
}

static void Convolve(const Sizes& s, const float* images, const float* panel, const Block& block,
                     i64 first, i64 last, float* out) {
  switch (block.vectors) {
    case 1: return Convolve<1>(s, images, panel, block, first, last, out);
    case 2: return Convolve<2>(s, images, panel, block, first, last, out);
    case 3: return Convolve<3>(s, images, panel, block, first, last, out);
    default: return Convolve<4>(s, images, panel, block, first, last, out);
  }
}

static ffi::Error Forward(ffi::ThreadPool pool, Numbers images, Numbers kernel,
                          ffi::Result<Numbers> out, Three stride, Three low) {
  const Sizes s = SizesOf(images.dimensions(), kernel.dimensions(), out->dimensions(), stride, low);
  if (WinogradPays(s)) {
    WinogradForward(pool, s, images.typed_data(), kernel.typed_data(), out->typed_data());
    return ffi::Error::Success();
  }
  const auto blocks = Blocks(s.out, kMostVectors);
  const auto panels = Panels(kernel.typed_data(), s.window(), s.out, blocks);
  const i64 even = (s.pixels() + 8 * pool.num_threads() - 1) / (8 * pool.num_threads());
  const i64 chunk = std::max<i64>((even + 131) / 132 * 132, 132);  // no block is cut: 132 = 11 * 12
  const i64 chunks = (s.pixels() + chunk - 1) / chunk;
  ParallelFor(pool, chunks * blocks.size(), [&](i64 i) {
    const Block& block = blocks[i / chunks];
    const i64 first = i % chunks * chunk, last = std::min(first + chunk, s.pixels());
    const float* panel = panels.data() + s.window() * block.feature;
    Convolve(s, images.typed_data(), panel, block, first, last, out->typed_data());
  });
  return ffi::Error::Success();
}

// --- the gradient of the kernel

static ffi::Error KernelGradient(ffi::ThreadPool pool, Numbers images, Numbers gradient,
                                 ffi::Result<Numbers> out, Three stride, Three low) {
  const Sizes s =
      SizesOf(images.dimensions(), out->dimensions(), gradient.dimensions(), stride, low);
  float* sums = out->typed_data();
  if (WinogradPays(s)) {
    WinogradKernelGradient(pool, s, images.typed_data(), gradient.typed_data(), sums);
    return ffi::Error::Success();
  }
  std::fill_n(sums, s.window() * s.out, 0.0f);
  if (s.pixels() == 0) return ffi::Error::Success();
  const auto blocks = Blocks(s.out, 2);
  const i64 lines = s.batch * s.result[0] * s.result[1];
  const i64 lines_a_chunk = std::max<i64>(
      kChunkNumbers / (std::min<i64>(s.in, 2 * kLanes) + 2 * kLanes) / s.result[2], 1);
  const i64 padded = Padded(s.out);
  // Where all taps of a run meet the image, its numbers lie side by side: of few channels they are
  // summed together, and what is left at either edge by itself.
  const i64 taps = s.kernel[2];
  const Columns inner = s.in < kFewChannels
                            ? Columns{Reach(s, 0).begin, Reach(s, taps - 1).end}
                            : Columns{0, 0};
  const bool together = taps > 1 && inner.begin < inner.end;
  // Then one thread has all taps of a run, since they add to the same numbers.
  const i64 units = s.runs() * taps * blocks.size(), piece = together ? taps : 1;
  const i64 shares = std::min<i64>(units / piece, pool.num_threads());
  // Each share of the kernel goes through all images, and all its taps through a few rows at a time.
  ParallelFor(pool, shares, [&](i64 share) {
    const i64 begin = units / piece * share / shares * piece;
    const i64 end = units / piece * (share + 1) / shares * piece;
    std::vector<Row> rows;
    std::vector<Line> chunk;
    std::vector<float> copy(padded == s.out ? 0 : lines_a_chunk * s.result[2] * padded);
    for (i64 first = 0; first < lines; first += lines_a_chunk) {
      const i64 last = std::min(first + lines_a_chunk, lines);
      const float* g = gradient.typed_data() + first * s.result[2] * s.out;
      if (!copy.empty()) {  // so that a vector reads no further than a pixel
        for (i64 i = 0; i < (last - first) * s.result[2]; ++i)
          std::copy_n(g + i * s.out, s.out, copy.data() + i * padded);
        g = copy.data();
      }
      FindLines(s, images.typed_data(), g, padded, first, last, chunk);
      const auto gather = [&](i64 run, i64 tap, i64 channels, const Block& block) {
        float* to = sums + (run * s.run() + tap * s.in) * s.out + block.feature;
        const auto all = block.vectors == 1 ? GatherAll<1> : GatherAll<2>;
        all(rows, channels, block.feature, s.stride[2] * s.in, padded, to, s.out,
            s.out - block.feature);
      };
      const auto add = [&](i64 run, i64 tap, Columns columns) {
        AddRows(s, chunk, padded, run, tap, columns, rows);
      };
      for (i64 unit = begin; unit < end; ++unit) {
        const Block& block = blocks[unit / taps % blocks.size()];
        const i64 run = unit / taps / blocks.size(), tap = unit % taps;
        if (together && tap == 0) {
          rows.clear();
          add(run, 0, inner);
          gather(run, 0, s.run(), block);
        }
        const Columns reach = Reach(s, tap);
        rows.clear();
        add(run, tap, together ? Columns{reach.begin, inner.begin} : reach);
        if (together) add(run, tap, Columns{inner.end, reach.end});
        gather(run, tap, s.in, block);
      }
    }
  });
  return ffi::Error::Success();
}

MEDJAX_CONVOLUTION(medjax_conv_forward, Forward);
MEDJAX_CONVOLUTION(medjax_conv_kernel_gradient, KernelGradient);

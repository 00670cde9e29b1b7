// Convolutions in float32 for a CPU, channels last, as custom calls of a compiled program.
//
// Images are [batch, depth, height, width, in], kernels [kd, kh, kw, in, out]; a 2-D convolution has
// depth 1. Nothing is unfolded in memory: the window of an output pixel is kd * kh runs of kw * in
// numbers that already lie side by side, so the forward pass is a product of a few pixels, each by
// its own pointer, with a panel of the kernel, summed in registers. The kernel's gradient sums, for a
// few input channels and output features at a time, over all pixels in registers. Sums are taken in
// an order that does not depend on the number of threads.

#include "common.h"

constexpr int kMostVectors = kRegisters == 32 ? 4 : 2;
constexpr int kMostPixels = 11;   // a pointer each in a register
constexpr i64 kNarrow = 16;       // runs shorter than this are copied side by side first
constexpr i64 kFewChannels = 8;
constexpr i64 kChunkNumbers = 6144;  // of a kernel's gradient: they stay in the first cache

// Features in blocks of at most so many vectors, as equal as can be.
struct Block {
  i64 feature;
  int vectors;
};

static std::vector<Block> Blocks(i64 features, int most) {
  const i64 vectors = (features + kLanes - 1) / kLanes, count = (vectors + most - 1) / most;
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

// [window, out] -> of each block [window, vectors * kLanes], zero behind the last feature.
static std::vector<float> Panels(const float* kernel, i64 window, i64 out,
                                 const std::vector<Block>& blocks) {
  const i64 padded = (out + kLanes - 1) / kLanes * kLanes;
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

static ffi::Error KernelGradient(ffi::ThreadPool pool, Numbers images, Numbers gradient,
                                 ffi::Result<Numbers> out, Three stride, Three low) {
  const Sizes s =
      SizesOf(images.dimensions(), out->dimensions(), gradient.dimensions(), stride, low);
  float* sums = out->typed_data();
  std::fill_n(sums, s.window() * s.out, 0.0f);
  if (s.pixels() == 0) return ffi::Error::Success();
  const auto blocks = Blocks(s.out, 2);
  const i64 lines = s.batch * s.result[0] * s.result[1];
  const i64 lines_a_chunk = std::max<i64>(
      kChunkNumbers / (std::min<i64>(s.in, 2 * kLanes) + 2 * kLanes) / s.result[2], 1);
  const i64 padded = (s.out + kLanes - 1) / kLanes * kLanes;
  // Where all taps of a run meet the image, its numbers lie side by side: of few channels they are
  // summed together, and what is left at either edge by itself.
  const i64 taps = s.kernel[2], units = s.runs() * taps * blocks.size();
  const Columns inner = s.in < kFewChannels
                            ? Columns{Reach(s, 0).begin, Reach(s, taps - 1).end}
                            : Columns{0, 0};
  const bool together = taps > 1 && inner.begin < inner.end;
  const i64 shares = std::min<i64>(units, pool.num_threads());
  // Each share of the kernel goes through all images, and all its taps through a few rows at a time.
  ParallelFor(pool, shares, [&](i64 share) {
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
      for (i64 unit = units * share / shares; unit < units * (share + 1) / shares; ++unit) {
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

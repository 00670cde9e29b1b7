// What all files share: vectors, threads; and the sizes of a convolution.

#ifndef MEDJAX_NATIVE_COMMON_H_
#define MEDJAX_NATIVE_COMMON_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <type_traits>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using i64 = int64_t;

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

static Vector Load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
static void Store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

// Channels in whole vectors.
static inline i64 Padded(i64 channels) { return (channels + kLanes - 1) / kLanes * kLanes; }

// Calls work(0) ... work(count - 1), this thread and those of XLA's pool taking one after another.
template <typename Work>
static void ParallelFor(ffi::ThreadPool& pool, i64 count, const Work& work) {
  struct Shared {
    std::atomic<i64> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>();
  // A helper that starts late finds nothing left, and does not touch `work`.
  auto take = [shared, count, &work] {
    for (i64 i; (i = shared->next.fetch_add(1)) < count;) {
      work(i);
      if (shared->done.fetch_add(1) + 1 == count) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->all_done.notify_all();
      }
    }
  };
  const i64 helpers = std::min<i64>(pool.num_threads(), count) - 1;
  for (i64 i = 0; i < helpers; ++i) pool.Schedule(decltype(take)(take));
  take();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done.load() == count; });
}

// The sizes of a convolution; of arrays of three numbers: depth, height, width.
struct Sizes {
  i64 batch, in, out;
  std::array<i64, 3> image, kernel, result, stride, low;

  i64 pixels() const { return batch * result[0] * result[1] * result[2]; }
  i64 run() const { return kernel[2] * in; }
  i64 runs() const { return kernel[0] * kernel[1]; }
  i64 window() const { return run() * runs(); }
};

using Numbers = ffi::Buffer<ffi::F32>;
using Three = ffi::Span<const i64>;

static std::array<i64, 3> ThreeOf(const i64* from) { return {from[0], from[1], from[2]}; }

static Sizes SizesOf(Numbers::Dimensions images, Numbers::Dimensions kernel,
                     Numbers::Dimensions result, Three stride, Three low) {
  return {images[0], images[4], kernel[4], ThreeOf(&images[1]), ThreeOf(&kernel[0]),
          ThreeOf(&result[1]), ThreeOf(stride.begin()), ThreeOf(low.begin())};
}

// The output columns, `begin` to `end`, whose pixels a tap of a row of the kernel meets inside.
struct Columns {
  i64 begin, end;
};

static Columns Reach(const Sizes& s, i64 tap) {
  const i64 step = s.stride[2], ahead = tap - s.low[2];
  const i64 begin = ahead < 0 ? (-ahead + step - 1) / step : 0;
  return {begin, std::max(begin, std::min((s.image[2] - ahead + step - 1) / step, s.result[2]))};
}

// Pixels side by side: `count` of them, the first one's inputs and its output's gradient.
struct Row {
  const float *images, *gradient;
  i64 count;
};

// An output row: its image, the depth and height that its first window begins at, and its gradient.
struct Line {
  const float* image;
  i64 d, h;
  const float* gradient;
};

// The output rows `first` to `last`; `gradient` is that of the first, `features` numbers a pixel.
static void FindLines(const Sizes& s, const float* images, const float* gradient, i64 features,
                      i64 first, i64 last, std::vector<Line>& lines) {
  lines.clear();
  for (i64 line = first; line < last; ++line) {
    const i64 plane = line / s.result[1], image = plane / s.result[0];
    lines.push_back({images + image * s.image[0] * s.image[1] * s.image[2] * s.in,
                     plane % s.result[0] * s.stride[0] - s.low[0],
                     line % s.result[1] * s.stride[1] - s.low[1],
                     gradient + (line - first) * s.result[2] * features});
  }
}

// Rows of pixels, of some output rows and columns, that a tap of the kernel meets inside the images.
// The gradient has `features` numbers a pixel.
static void AddRows(const Sizes& s, const std::vector<Line>& lines, i64 features, i64 run, i64 tap,
                    Columns columns, std::vector<Row>& rows) {
  if (columns.begin >= columns.end) return;
  const i64 kd = run / s.kernel[1], kh = run % s.kernel[1];
  const i64 column = columns.begin * s.stride[2] + tap - s.low[2];
  for (const Line& line : lines) {
    const i64 d = line.d + kd, h = line.h + kh;
    if (d < 0 || d >= s.image[0] || h < 0 || h >= s.image[1]) continue;
    rows.push_back({line.image + ((d * s.image[1] + h) * s.image[2] + column) * s.in,
                    line.gradient + columns.begin * features, columns.end - columns.begin});
  }
}

// Of two arrays a third.
#define MEDJAX_CONVOLUTION(name, function)                  \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,             \
                                ffi::Ffi::Bind()            \
                                    .Ctx<ffi::ThreadPool>() \
                                    .Arg<Numbers>()         \
                                    .Arg<Numbers>()         \
                                    .Ret<Numbers>()         \
                                    .Attr<Three>("strides") \
                                    .Attr<Three>("low"))

#endif  // MEDJAX_NATIVE_COMMON_H_

// Tiles of images, and how Winograd's minimal filtering carries them to points and back.

#ifndef MEDJAX_NATIVE_TILES_H_
#define MEDJAX_NATIVE_TILES_H_

#include "common.h"

constexpr int kTile = 6, kPoints = kTile * kTile;
constexpr float kNear = 2.0f / 3.0f, kFar = 1.5f;  // their product is 1
constexpr float kNear2 = kNear * kNear, kFar2 = kFar * kFar;

static constexpr float Power(float base, int exponent) {
  return exponent == 0 ? 1.0f : base * Power(base, exponent - 1);
}

// --- along one axis; numbers lie `step` apart, the answers `to_step`

struct OfImage {  // six pixels to six points
  static constexpr int from = kTile, to = kTile;
  static void Apply(const Vector* d, int step, Vector* t, int to_step) {
    const Vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step],
                 d5 = d[5 * step];
    const Vector near_even = d4 - kFar2 * d2, near_odd = kNear * (d3 - kFar2 * d1);
    const Vector far_even = d4 - kNear2 * d2, far_odd = kFar * (d3 - kNear2 * d1);
    t[0] = d0 - (kNear2 + kFar2) * d2 + d4;
    t[to_step] = near_even + near_odd;
    t[2 * to_step] = near_even - near_odd;
    t[3 * to_step] = far_even + far_odd;
    t[4 * to_step] = far_even - far_odd;
    t[5 * to_step] = d1 - (kNear2 + kFar2) * d3 + d5;
  }
};

template <int n>
struct Spread {  // the coefficients of a polynomial to its values at the points
  static constexpr int from = n, to = kTile;
  static void Apply(const Vector* g, int step, Vector* t, int to_step) {
    Vector near[2] = {}, far[2] = {};  // the even powers and the odd ones
    for (int k = 0; k < n; ++k) {
      near[k % 2] += Power(kNear, k) * g[k * step];
      far[k % 2] += Power(kFar, k) * g[k * step];
    }
    t[0] = g[0];
    t[to_step] = near[0] + near[1];
    t[2 * to_step] = near[0] - near[1];
    t[3 * to_step] = far[0] + far[1];
    t[4 * to_step] = far[0] - far[1];
    t[5 * to_step] = g[(n - 1) * step];
  }
};

template <int n>
struct Collect {  // the transpose of `Spread`
  static constexpr int from = kTile, to = n;
  static void Apply(const Vector* t, int step, Vector* y, int to_step) {
    const Vector near[2] = {t[step] + t[2 * step], t[step] - t[2 * step]};
    const Vector far[2] = {t[3 * step] + t[4 * step], t[3 * step] - t[4 * step]};
    for (int k = 0; k < n; ++k) {
      Vector sum = Power(kNear, k) * near[k % 2] + Power(kFar, k) * far[k % 2];
      if (k == 0) sum += t[0];
      if (k == n - 1) sum += t[5 * step];
      y[k * to_step] = sum;
    }
  }
};

// Along both axes: [from, from] -> [to, to].
template <typename Axis>
static inline void Transform(const Vector* in, Vector* out) {
  Vector half[Axis::from * Axis::to];
#pragma GCC unroll 6
  for (int i = 0; i < Axis::from; ++i)
    Axis::Apply(in + i * Axis::from, 1, half + i * Axis::to, 1);
#pragma GCC unroll 6
  for (int j = 0; j < Axis::to; ++j) Axis::Apply(half + j, Axis::to, out + j, Axis::to);
}

// What the kernel's values are divided by, so that the products are those of the convolution.
static float Scale(int point) {
  constexpr float near = 1.0f / (2.0f * kNear2 * (kNear2 - kFar2));
  constexpr float far = 1.0f / (2.0f * kFar2 * (kFar2 - kNear2));
  constexpr float axis[kTile] = {1.0f, near, near, far, far, 1.0f};
  return axis[point / kTile] * axis[point % kTile];
}

// --- where things lie

static Vector LoadSome(const float* from, i64 count) {
  if (count >= kLanes) return Load(from);
  Vector some = {};
  std::memcpy(&some, from, 4 * count);
  return some;
}

static void StoreSome(float* to, Vector value, i64 count) {
  if (count >= kLanes) return Store(to, value);
  std::memcpy(to, &value, 4 * count);
}

using Scratch = std::unique_ptr<float[]>;

static Scratch Allocate(i64 count) { return Scratch(new float[count]); }  // not cleared

// Numbers from one tile to the next: whole vectors, and no power of two, which would have all tiles
// meet in the same few lines of a cache.
static i64 Pitch(i64 channels) {
  const i64 padded = Padded(channels);
  return padded % 64 == 0 ? padded + kLanes : padded;
}

// The tiles of all images, and what lies where once they are at their points. Of few channels all
// planes of a tile lie side by side, so that what the depth taps meet is one run of numbers; of more,
// each depth tap has a run of its own.
struct Tiling {
  i64 side, high, wide, count;  // outputs a tile; tiles down, across and in all
  i64 planes;                   // that the outputs of one column meet
  bool side_by_side;
  i64 runs, length, pitch;  // runs of numbers; from one tile to the next
  Tiling(const Sizes& s, int taps)
      : side(kTile + 1 - taps),
        high((s.result[1] + side - 1) / side),
        wide((s.result[2] + side - 1) / side),
        count(s.batch * high * wide),
        planes(s.result[0] + s.kernel[0] - 1),
        side_by_side(s.in < kLanes),
        runs(side_by_side ? 1 : s.kernel[0]),
        length(s.window() / (runs * s.kernel[1] * s.kernel[2])),
        pitch(Pitch(side_by_side ? (planes - 1) * s.in + kLanes : s.in)) {}

  // Numbers of some tiles at one point, of which as many planes are kept; and where a plane begins.
  i64 Size(i64 tiles, i64 kept) const { return tiles * pitch * (side_by_side ? 1 : kept); }
  i64 PlaneAt(const Sizes& s, i64 tiles, i64 kept, i64 plane) const {
    return side_by_side ? plane * s.in : plane % kept * tiles * pitch;
  }
};

// The first output of a tile.
struct Corner {
  i64 image, y, x;
};

static Corner CornerOf(const Tiling& t, i64 tile) {
  return {tile / (t.high * t.wide), tile / t.wide % t.high * t.side, tile % t.wide * t.side};
}

// The pixels of a square, those outside the image as zero, `channels` of them from `channel` on.
template <int n>
static void LoadSquare(const float* image, i64 height, i64 width, i64 y, i64 x, i64 channels,
                       i64 channel, const float* end, Vector* to) {
  const float* corner = image + (y * width + x) * channels + channel;
  const float* last = corner + ((n - 1) * width + n - 1) * channels;
  if (y >= 0 && x >= 0 && y + n <= height && x + n <= width && last + kLanes <= end) {
    for (int i = 0; i < n; ++i)
      for (int j = 0; j < n; ++j) to[i * n + j] = Load(corner + (i * width + j) * channels);
    return;
  }
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      const bool inside = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width;
      const float* from = corner + (i * width + j) * channels;
      to[i * n + j] = inside ? LoadSome(from, end - from) : Vector{};
    }
}

// A tile of a plane of the images, `plane` counted from the first that an output meets: each point
// `apart` from the next.
static void TransformImage(const Sizes& s, const Tiling& t, const float* images, i64 tile,
                           i64 plane, float* to, i64 apart) {
  const i64 d = plane - s.low[0], size = s.image[1] * s.image[2] * s.in;
  if (d < 0 || d >= s.image[0]) {
    for (int point = 0; point < kPoints; ++point) std::fill_n(to + point * apart, s.in, 0.0f);
    return;
  }
  const Corner at = CornerOf(t, tile);
  const float *image = images + (at.image * s.image[0] + d) * size,
              *end = images + s.batch * s.image[0] * size;
  for (i64 channel = 0; channel < s.in; channel += kLanes) {
    Vector pixels[kPoints], points[kPoints];
    LoadSquare<kTile>(image, s.image[1], s.image[2], at.y - s.low[1], at.x - s.low[2], s.in,
                      channel, end, pixels);
    Transform<OfImage>(pixels, points);
    for (int point = 0; point < kPoints; ++point)
      Store(to + point * apart + channel, points[point]);
  }
}

#endif  // MEDJAX_NATIVE_TILES_H_

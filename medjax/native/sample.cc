// Linear interpolation at any places, and its gradients.

#include <cmath>
#include <functional>
#include <numeric>

#include "common.h"

// Places [ndim, count], in voxels of an image.
struct Places {
  const float* where;
  i64 count, channels;
  std::array<i64, 3> size, step;  // of the image; from one voxel to the next, in numbers
  bool repeat;                    // beyond the border it goes on; else there is nothing
};

// Of arrays [..., own axes], in which the axes before their own are those of a batch, or 1 long.
struct Batch {
  Numbers::Dimensions leading;  // of the result

  Batch(Numbers::Dimensions result, i64 own) : leading(result.begin(), result.size() - own) {}

  i64 count() const {
    return std::accumulate(leading.begin(), leading.end(), i64{1}, std::multiplies<i64>());
  }

  // Where the array's part for one of the batch begins.
  i64 Begin(Numbers::Dimensions dimensions, i64 number) const {
    i64 begin = 0, step = 1;
    for (i64 d = static_cast<i64>(dimensions.size()) - 1; d >= 0; step *= dimensions[d], --d) {
      if (d >= static_cast<i64>(leading.size())) continue;
      if (dimensions[d] > 1) begin += number % leading[d] * step;
      number /= leading[d];
    }
    return begin;
  }
};

static Places PlacesOf(Numbers::Dimensions image, const Numbers& where, bool repeat) {
  const auto shape = where.dimensions();
  const i64 ndim = shape[shape.size() - 2];
  Places p = {nullptr, shape.back(), image.back(), {}, {}, repeat};
  const i64* space = image.end() - 1 - ndim;
  for (i64 d = ndim - 1, step = p.channels; d >= 0; step *= space[d], --d) {
    p.size[d] = space[d];
    p.step[d] = step;
  }
  return p;
}

constexpr int kBlock = 16;  // places whose cells are found at once

// Which of its two sides along an axis a corner is on.
static constexpr int SideOf(int corner, int d) { return corner >> d & 1; }

// The corners of the cells that some places lie in.
template <int ndim>
struct Cells {
  static constexpr int kCorners = 1 << ndim;
  i64 index[kCorners][kBlock];  // in the image, held inside
  i64 there[kCorners][kBlock];  // whether it lies inside
  float near[ndim][2][kBlock];  // one less the distance to a side

  Cells(const Places& p, i64 first) {
    i64 at[ndim][2][kBlock], inside[ndim][2][kBlock];
    for (int d = 0; d < ndim; ++d) {
      const float* where = p.where + d * p.count;
      const i64 last = p.size[d] - 1;
      const float beyond = static_cast<float>(last + 1);
      for (int i = 0; i < kBlock; ++i) {
        const float place = where[std::min(first + i, p.count - 1)], low = std::floor(place);
        // A place far away, or none, is held where it can be counted.
        const float held = low > -2.0f ? std::min(low, beyond) : -2.0f;
        for (int side = 0; side < 2; ++side) {
          const i64 voxel = static_cast<i64>(held) + side;
          const i64 border = std::min(std::max<i64>(voxel, 0), last);
          at[d][side][i] = border * p.step[d];
          inside[d][side][i] = p.repeat || border == voxel;
        }
        near[d][1][i] = place - low;
        near[d][0][i] = 1.0f - (place - low);
      }
    }
    for (int corner = 0; corner < kCorners; ++corner)
      for (int i = 0; i < kBlock; ++i) {
        index[corner][i] = 0;
        there[corner][i] = 1;
        for (int d = 0; d < ndim; ++d) {
          index[corner][i] += at[d][SideOf(corner, d)][i];
          there[corner][i] &= inside[d][SideOf(corner, d)][i];
        }
      }
  }

  // The weight of a corner, or without one of its axes.
  float Weight(int corner, int i, int but = -1) const {
    float weight = 1.0f;
    for (int d = 0; d < ndim; ++d)
      if (d != but) weight *= near[d][SideOf(corner, d)][i];
    return weight;
  }
};

// Calls work(cells, i, point) of each point, as number i of a block.
template <int ndim, typename Work>
static void ForPoints(ffi::ThreadPool& pool, const Places& p, const Work& work) {
  constexpr i64 kPart = 256 * kBlock;
  ParallelFor(pool, (p.count + kPart - 1) / kPart, [&](i64 part) {
    const i64 end = std::min(p.count, (part + 1) * kPart);
    for (i64 first = part * kPart; first < end; first += kBlock) {
      const Cells<ndim> cells(p, first);
      for (int i = 0; i < std::min<i64>(kBlock, end - first); ++i) work(cells, i, first + i);
    }
  });
}

template <int ndim>
static void Interpolate(ffi::ThreadPool& pool, const Places& p, const float* image, float fill,
                        float* out) {
  const Vector outside = fill - Vector{};
  ForPoints<ndim>(pool, p, [&](const Cells<ndim>& cells, int i, i64 point) {
    float* to = out + point * p.channels;
    float weight[cells.kCorners];
    const float* from[cells.kCorners];
    for (int corner = 0; corner < cells.kCorners; ++corner) {
      weight[corner] = cells.Weight(corner, i);
      from[corner] = cells.there[corner][i] ? image + cells.index[corner][i] : nullptr;
    }
    i64 c = 0;
    for (; c + kLanes <= p.channels; c += kLanes) {
      Vector sum = {};
      for (int corner = 0; corner < cells.kCorners; ++corner)
        sum += weight[corner] * (from[corner] ? Load(from[corner] + c) : outside);
      Store(to + c, sum);
    }
    for (; c < p.channels; ++c) {
      float sum = 0.0f;
      for (int corner = 0; corner < cells.kCorners; ++corner)
        sum += weight[corner] * (from[corner] ? from[corner][c] : fill);
      to[c] = sum;
    }
  });
}

static float Dot(const float* a, const float* b, i64 count) {
  Vector sums = {};
  i64 i = 0;
  for (; i + kLanes <= count; i += kLanes) sums += Load(a + i) * Load(b + i);
  float total = 0.0f;
  for (int lane = 0; i && lane < kLanes; ++lane) total += sums[lane];
  for (; i < count; ++i) total += a[i] * b[i];
  return total;
}

template <int ndim>
static void ToPlaces(ffi::ThreadPool& pool, const Places& p, const float* image, float fill,
                     const float* gradient, float* out) {
  ForPoints<ndim>(pool, p, [&](const Cells<ndim>& cells, int i, i64 point) {
    const float* g = gradient + point * p.channels;
    float slope[ndim] = {};
    for (int corner = 0; corner < cells.kCorners; ++corner) {
      const float value = cells.there[corner][i]
                              ? Dot(g, image + cells.index[corner][i], p.channels)
                              : fill * std::accumulate(g, g + p.channels, 0.0f);
      for (int d = 0; d < ndim; ++d) {
        const float change = cells.Weight(corner, i, d) * value;
        slope[d] += SideOf(corner, d) ? change : -change;
      }
    }
    for (int d = 0; d < ndim; ++d) out[d * p.count + point] = slope[d];
  });
}

// Each thread has slabs of the image to itself, and looks through all points for those that meet
// them: so nothing is added by two at once, and the order of the sums is always the same.
template <int ndim>
static void ToImage(ffi::ThreadPool& pool, const Places& p, const float* gradient, float* out) {
  std::fill(out, out + p.size[0] * p.step[0], 0.0f);
  const i64 slabs = std::min<i64>(pool.num_threads(), p.size[0]);
  ParallelFor(pool, slabs, [&](i64 slab) {
    const i64 begin = slab * p.size[0] / slabs * p.step[0];
    const i64 end = (slab + 1) * p.size[0] / slabs * p.step[0];
    for (i64 first = 0; first < p.count; first += kBlock) {
      const Cells<ndim> cells(p, first);
      for (int i = 0; i < std::min<i64>(kBlock, p.count - first); ++i) {
        const float* g = gradient + (first + i) * p.channels;
        for (int corner = 0; corner < cells.kCorners; ++corner) {
          const i64 index = cells.index[corner][i];
          if (!cells.there[corner][i] || index < begin || index >= end) continue;
          const float weight = cells.Weight(corner, i);
          for (i64 c = 0; c < p.channels; ++c) out[index + c] += weight * g[c];
        }
      }
    }
  });
}

// Calls work(ndim as a type, a pointer of each array) of all of a batch.
template <typename Work, typename... Arrays>
static ffi::Error ForBatch(Places p, const Numbers& where, const Numbers& result, i64 own,
                           const Work& work, const Arrays&... arrays) {
  const i64 ndim = where.dimensions()[where.dimensions().size() - 2];
  if (ndim != 2 && ndim != 3) return ffi::Error::InvalidArgument("images have 2 or 3 axes");
  const Batch batch(result.dimensions(), own);
  for (i64 i = 0; i < batch.count(); ++i) {
    const auto part = [&](const Numbers& array) {
      return array.typed_data() + batch.Begin(array.dimensions(), i);
    };
    p.where = part(where);
    if (ndim == 2) work(std::integral_constant<int, 2>(), p, part(arrays)..., part(result));
    else work(std::integral_constant<int, 3>(), p, part(arrays)..., part(result));
  }
  return ffi::Error::Success();
}

static ffi::Error Forward(ffi::ThreadPool pool, Numbers image, Numbers where,
                          ffi::Result<Numbers> out, float fill, bool repeat) {
  return ForBatch(
      PlacesOf(image.dimensions(), where, repeat), where, *out, 2,
      [&](auto ndim, const Places& p, const float* image, float* out) {
        Interpolate<ndim>(pool, p, image, fill, out);
      },
      image);
}

static ffi::Error PlaceGradient(ffi::ThreadPool pool, Numbers image, Numbers where,
                                Numbers gradient, ffi::Result<Numbers> out, float fill,
                                bool repeat) {
  return ForBatch(
      PlacesOf(image.dimensions(), where, repeat), where, *out, 2,
      [&](auto ndim, const Places& p, const float* image, const float* gradient, float* out) {
        ToPlaces<ndim>(pool, p, image, fill, gradient, out);
      },
      image, gradient);
}

static ffi::Error ImageGradient(ffi::ThreadPool pool, Numbers gradient, Numbers where,
                                ffi::Result<Numbers> out, float, bool repeat) {
  const auto shape = where.dimensions();
  return ForBatch(
      PlacesOf(out->dimensions(), where, repeat), where, *out, shape[shape.size() - 2] + 1,
      [&](auto ndim, const Places& p, const float* gradient, float* out) {
        ToImage<ndim>(pool, p, gradient, out);
      },
      gradient);
}

#define MEDJAX_SAMPLE(name, function, third)                \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, function,             \
                                ffi::Ffi::Bind()            \
                                    .Ctx<ffi::ThreadPool>() \
                                    .Arg<Numbers>()         \
                                    .Arg<Numbers>() third   \
                                    .Ret<Numbers>()         \
                                    .Attr<float>("fill")    \
                                    .Attr<bool>("repeat"))

MEDJAX_SAMPLE(medjax_sample_forward, Forward, );
MEDJAX_SAMPLE(medjax_sample_place_gradient, PlaceGradient, .Arg<Numbers>());
MEDJAX_SAMPLE(medjax_sample_image_gradient, ImageGradient, );

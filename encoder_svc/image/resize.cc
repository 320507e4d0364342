// Pillow's resize: a horizontal and a vertical pass of weighted sums, rounded to 8 bits after each.
#include "encoder_svc/image/resize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "encoder_svc/image/weighted_rows.h"

namespace softsplice {
namespace {

// What makes the samples along one axis: output i is the weighted sum of `count[i]` inputs from
// `first[i]` on, with weights at [i * stride].
struct Filter {
  std::vector<int> first;
  std::vector<int> count;
  std::vector<int32_t> weights;
  int stride = 0;
};

double Bicubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1) return ((kA + 2) * x - (kA + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * kA;
  return 0;
}

// Pillow's precompute_coeffs and normalize_coeffs_8bpc (Resample.c), in its order of operations,
// for what lies from `begin` to `end` of `in` samples.
Filter MakeFilter(int in, double begin, double end, int out) {
  const double scale = (end - begin) / out;
  const double filter_scale = std::max(scale, 1.0);
  const double support = 2 * filter_scale;
  const double step = 1 / filter_scale;
  Filter filter;
  filter.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  filter.first.resize(static_cast<size_t>(out));
  filter.count.resize(static_cast<size_t>(out));
  filter.weights.resize(static_cast<size_t>(out) * static_cast<size_t>(filter.stride));
  std::vector<double> row(static_cast<size_t>(filter.stride));
  for (int i = 0; i < out; ++i) {
    const double center = begin + (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int count = std::min(static_cast<int>(center + support + 0.5), in) - first;
    double sum = 0;
    for (int t = 0; t < count; ++t) {
      row[static_cast<size_t>(t)] = Bicubic((t + first - center + 0.5) * step);
      sum += row[static_cast<size_t>(t)];
    }
    int32_t* weights = &filter.weights[static_cast<size_t>(i) * static_cast<size_t>(filter.stride)];
    for (int t = 0; t < count; ++t) {
      const double w = row[static_cast<size_t>(t)] / sum;
      weights[t] = static_cast<int32_t>((w < 0 ? -0.5 : 0.5) + w * (1 << kWeightBits));
    }
    filter.first[static_cast<size_t>(i)] = first;
    filter.count[static_cast<size_t>(i)] = count;
  }
  return filter;
}

// Transposes blocks of rows, so that the horizontal pass is the vertical one with a column's
// samples of kBlockRows rows lying side by side: [column][channel][row of the block].
constexpr int kBlockRows = 16;
constexpr size_t kColumnBytes = 3 * kBlockRows;

void LoadBlock(const Picture& from, int y, int rows, uint8_t* block) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* in = from.Row(y + r);
    uint8_t* out = block + r;
    for (size_t i = 0; i < from.Stride(); ++i) out[i * kBlockRows] = in[i];
  }
}

void StoreBlock(const uint8_t* block, int y, int rows, Picture& to) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* in = block + r;
    uint8_t* out = to.Row(y + r);
    for (size_t i = 0; i < to.Stride(); ++i) out[i] = in[i * kBlockRows];
  }
}

Picture ResizeWidth(const Picture& picture, int width) {
  const Filter filter = MakeFilter(picture.width, picture.left, picture.right, width);
  Picture out(width, picture.height);
  out.top = picture.top;
  out.bottom = picture.bottom;
  std::vector<uint8_t> in_block(static_cast<size_t>(picture.width) * kColumnBytes);
  std::vector<uint8_t> out_block(static_cast<size_t>(width) * kColumnBytes);
  for (int y = 0; y < picture.height; y += kBlockRows) {
    const int rows = std::min(kBlockRows, picture.height - y);
    LoadBlock(picture, y, rows, in_block.data());
    for (size_t x = 0; x < static_cast<size_t>(width); ++x) {
      WeightedRows(&out_block[x * kColumnBytes],
                   &in_block[static_cast<size_t>(filter.first[x]) * kColumnBytes], kColumnBytes,
                   &filter.weights[x * static_cast<size_t>(filter.stride)], filter.count[x],
                   kColumnBytes);
    }
    StoreBlock(out_block.data(), y, rows, out);
  }
  return out;
}

Picture ResizeHeight(const Picture& picture, int height) {
  const Filter filter = MakeFilter(picture.height, picture.top, picture.bottom, height);
  Picture out(picture.width, height);
  for (int y = 0; y < height; ++y) {
    const auto i = static_cast<size_t>(y);
    WeightedRows(out.Row(y), picture.Row(filter.first[i]), picture.Stride(),
                 &filter.weights[i * static_cast<size_t>(filter.stride)], filter.count[i],
                 out.Stride());
  }
  return out;
}

}  // namespace

absl::StatusOr<PictureSize> TargetSize(int width, int height, int max_soft_tokens, int patch,
                                       int pool) {
  const int64_t side = int64_t{patch} * pool;
  const double target_pixels = static_cast<double>(max_soft_tokens * side * side);
  const double factor = std::sqrt(target_pixels / (static_cast<double>(width) * height));
  const auto rounded_down = [&](int length) {
    return static_cast<int64_t>(std::floor(factor * length / static_cast<double>(side))) * side;
  };
  int64_t w = rounded_down(width), h = rounded_down(height);
  if (w == 0 && h == 0) {
    return InvalidMedia(absl::StrCat("a picture of ", width, " x ", height, " pixels has no size ",
                                     "with ", max_soft_tokens, " soft tokens"));
  }
  const auto long_side = [&](int longer, int shorter) {
    const double ratio = std::floor(static_cast<double>(longer) / shorter);
    return std::min(static_cast<int64_t>(ratio) * side, max_soft_tokens * side);
  };
  if (h == 0) {
    h = side;
    w = long_side(width, height);
  } else if (w == 0) {
    w = side;
    h = long_side(height, width);
  }
  return PictureSize{static_cast<int>(w), static_cast<int>(h)};
}

Picture ResizeBicubic(const Picture& picture, PictureSize size) {
  Picture narrowed;
  const Picture* from = &picture;
  const auto whole = [](double begin, double end, int pixels) {
    return begin == 0 && end == pixels;
  };
  if (!whole(picture.left, picture.right, size.width)) {
    narrowed = ResizeWidth(picture, size.width);
    from = &narrowed;
  }
  if (!whole(from->top, from->bottom, size.height)) return ResizeHeight(*from, size.height);
  return *from;
}

}  // namespace softsplice

#include "common/config/audio_config.h"

#include "absl/strings/str_cat.h"
#include "common/config/keys.h"
#include "common/config/mmproj.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr int kMaxLayers = 1024;
constexpr int kMaxDim = 1 << 16;
constexpr int kMaxHeads = 1024;
constexpr int kMaxFfn = 1 << 20;
constexpr int kMelBins = 128;  // what the preprocessing gives
constexpr int kMaxChannels = 1 << 12;
constexpr int kMaxKernel = 64;

// A dimension that only the tensor tells.
absl::Status Size(const gguf::File& file, const gguf::Tensor& tensor, size_t dimension,
                  absl::string_view what, int limit, int& out) {
  const int64_t size = dimension < tensor.dims.size() ? tensor.dims[dimension] : 1;
  if (size > limit) {
    return InvalidFile(
        file.path(), absl::StrCat(tensor.name, " has ", size, " ", what, ", the limit is ", limit));
  }
  out = static_cast<int>(size);
  return absl::OkStatus();
}

absl::Status CheckTensors(const gguf::File& file, AudioConfig& c) {
  ASSIGN_OR_RETURN(const gguf::Tensor* first, file.Find("a.conv1d.0.weight", {3, 3, 1, -1}));
  RETURN_IF_ERROR(Size(file, *first, 3, "channels", kMaxChannels, c.conv_channels[0]));
  ASSIGN_OR_RETURN(const gguf::Tensor* second,
                   file.Find("a.conv1d.1.weight", {3, 3, c.conv_channels[0], -1}));
  RETURN_IF_ERROR(Size(file, *second, 3, "channels", kMaxChannels, c.conv_channels[1]));
  RETURN_IF_ERROR(
      file.Find("a.input_projection.weight", {c.mel_bins / 4 * c.conv_channels[1], c.dim})
          .status());
  ASSIGN_OR_RETURN(const gguf::Tensor* depthwise, file.Find("a.blk.0.conv_dw.weight", {-1, c.dim}));
  RETURN_IF_ERROR(Size(file, *depthwise, 0, "taps", kMaxKernel, c.kernel));
  ASSIGN_OR_RETURN(const gguf::Tensor* output, file.Find("a.pre_encode.out.weight", {c.dim, -1}));
  RETURN_IF_ERROR(Size(file, *output, 1, "outputs", kMaxDim, c.output_dim));
  return file.Find("mm.a.input_projection.weight", {c.output_dim, c.projection_dim}).status();
}

}  // namespace

absl::StatusOr<AudioConfig> AudioConfig::FromGguf(const gguf::File& file) {
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(file));
  RETURN_IF_ERROR(CheckTower(file, towers.audio, "audio", "clip.audio.", "gemma4a"));
  const Keys keys(file, "clip.audio.");
  AudioConfig c;
  c.name = ModelName(file);
  RETURN_IF_ERROR(keys.Int("block_count", 1, kMaxLayers, c.layers));
  RETURN_IF_ERROR(keys.Int("embedding_length", 1, kMaxDim, c.dim));
  RETURN_IF_ERROR(keys.Int("feed_forward_length", 1, kMaxFfn, c.ffn));
  RETURN_IF_ERROR(keys.Int("projection_dim", 1, kMaxDim, c.projection_dim));
  RETURN_IF_ERROR(keys.Int("num_mel_bins", kMelBins, kMelBins, c.mel_bins));
  RETURN_IF_ERROR(keys.Int("attention.head_count", 1, kMaxHeads, c.heads));
  // The positions' sinusoids are half sines, half cosines.
  if (c.dim % c.heads != 0 || c.dim % 2 != 0) {
    return keys.Error("attention.head_count", c.heads,
                      absl::StrCat("a divisor of embedding_length ", c.dim, ", which is even"));
  }
  RETURN_IF_ERROR(CheckTensors(file, c));
  return c;
}

}  // namespace softsplice

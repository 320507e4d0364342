// See mel.h. The extractor multiplies by the window in float32; all after that is in double, as
// numpy's FFT does even for float32 input (it rounds the result only). A float32 FFT would be off
// by up to 5e-3 here, where a loud tone's rounding errors meet the floor of 0.001.
#include "encoder_svc/audio/mel.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <kissfft/kissfft.hh>
#include <numbers>

namespace softsplice {
namespace {

constexpr int kWindow = 320;
constexpr int kFft = 512;
constexpr int kBins = kFft / 2 + 1;
constexpr double kFloor = 1e-3;

// One triangle of the filter bank: weights of the bins from `first` on.
struct Filter {
  size_t first = 0;
  std::vector<double> weights;
};

double HtkMel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double HtkHertz(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

// transformers.audio_utils.mel_filter_bank(norm=None, mel_scale="htk"): corners evenly spaced in
// mel, not normalised. The topmost triangle falls between two bins and stays empty.
std::vector<Filter> MakeFilters() {
  std::array<double, kMelBins + 2> corners;
  for (size_t i = 0; i < corners.size(); ++i) {
    corners[i] = HtkHertz(HtkMel(kSampleRate / 2.0) * static_cast<double>(i) / (kMelBins + 1));
  }
  std::vector<Filter> filters(kMelBins);
  for (size_t m = 0; m < filters.size(); ++m) {
    Filter& filter = filters[m];
    for (size_t bin = 0; bin < kBins; ++bin) {
      const double hertz = static_cast<double>(bin) * kSampleRate / kFft;
      const double up = (hertz - corners[m]) / (corners[m + 1] - corners[m]);
      const double down = (corners[m + 2] - hertz) / (corners[m + 2] - corners[m + 1]);
      const double weight = std::min(up, down);
      if (weight <= 0) continue;
      if (filter.weights.empty()) filter.first = bin;
      filter.weights.push_back(weight);
    }
  }
  return filters;
}

struct Tables {
  std::array<float, kWindow> window;
  std::vector<Filter> filters = MakeFilters();
  kissfft<double> fft{kFft / 2, /*inverse=*/false};  // of a real signal twice as long

  Tables() {
    for (int i = 0; i < kWindow; ++i) {
      window[static_cast<size_t>(i)] =
          static_cast<float>(0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / kWindow));
    }
  }
};

const Tables& SharedTables() {
  static const Tables tables;
  return tables;
}

using Magnitudes = std::array<double, kBins>;

// `signal` is a windowed frame, followed by zeros.
Magnitudes Spectrum(const kissfft<double>& fft, const std::array<double, kFft>& signal) {
  std::array<std::complex<double>, kFft / 2> packed;
  fft.transform_real(signal.data(), packed.data());
  Magnitudes magnitudes;
  for (size_t bin = 1; bin < packed.size(); ++bin) {
    const double re = packed[bin].real(), im = packed[bin].imag();
    magnitudes[bin] = std::sqrt(re * re + im * im);
  }
  // The first and the last bin are real and share the first place.
  magnitudes.front() = std::abs(packed[0].real());
  magnitudes.back() = std::abs(packed[0].imag());
  return magnitudes;
}

float LogBand(const Filter& filter, const Magnitudes& magnitudes, MelFloor floor) {
  double sum = 0;
  for (size_t i = 0; i < filter.weights.size(); ++i) {
    sum += filter.weights[i] * magnitudes[filter.first + i];
  }
  return static_cast<float>(
      std::log(floor == MelFloor::kAdd ? sum + kFloor : std::max(sum, kFloor)));
}

}  // namespace

int MelFrameCount(int64_t samples) {
  return samples <= kMelHop ? 0 : static_cast<int>((samples - 1) / kMelHop);
}

int SoundTokenCount(int frames) { return ((frames + 1) / 2 + 1) / 2; }

MelFrames LogMel(absl::Span<const float> samples, MelFloor floor) {
  const Tables& tables = SharedTables();
  MelFrames mel;
  mel.frames = MelFrameCount(static_cast<int64_t>(samples.size()));
  mel.values.reserve(static_cast<size_t>(mel.frames) * kMelBins);
  std::array<double, kFft> signal{};
  for (int frame = 0; frame < mel.frames; ++frame) {
    // The zeros in front make the first frame's first half.
    const size_t lead = frame == 0 ? kMelHop : 0;
    const size_t start = frame == 0 ? 0 : static_cast<size_t>(frame - 1) * kMelHop;
    for (size_t i = lead; i < kWindow; ++i) {
      signal[i] = samples[start + i - lead] * tables.window[i];
    }
    const Magnitudes magnitudes = Spectrum(tables.fft, signal);
    for (const Filter& filter : tables.filters) {
      mel.values.push_back(LogBand(filter, magnitudes, floor));
    }
  }
  return mel;
}

}  // namespace softsplice

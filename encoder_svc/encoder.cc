// The encoder engine: loading, and whether it works.
#include "encoder_svc/encoder.h"

#include <algorithm>
#include <future>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/config/audio_config.h"
#include "common/config/mmproj.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/fingerprint.h"
#include "kernels/backend_factory.h"

namespace softsplice {
namespace {

// Changes whenever the same weights and the same medium would give other rows.
constexpr absl::string_view kVersion = "softsplice image preprocessing 1, audio preprocessing 1";

std::string Version(const EncoderOptions& options) {
  return absl::StrCat(kVersion, options.quick_gelu ? ", quick gelu" : "",
                      options.mel_floor == MelFloor::kMax ? ", max mel floor" : "");
}

EncoderOptions Fitted(EncoderOptions options) {
  const int cpus = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  options.decode_threads = std::clamp(options.decode_threads, 1, cpus);
  return options;
}

}  // namespace

EncoderImpl::EncoderImpl(const EncoderOptions& options, std::unique_ptr<gguf::File> file,
                         std::unique_ptr<Backend> backend, Models models, const Digest& fingerprint)
    : options_(Fitted(options)),
      file_(std::move(file)),
      backend_(std::move(backend)),
      models_(std::move(models)),
      info_(models_.Info(*backend_, fingerprint)),
      pipeline_(options_) {}

absl::Status EncoderImpl::health() const {
  RETURN_IF_ERROR(passes_.verdict());
  return file_->CheckUnchanged();
}

absl::Status EncoderImpl::CheckMemory(absl::string_view what, uint64_t bytes) const {
  if (bytes <= options_.decode_memory) return absl::OkStatus();
  return OverLimit(
      "data", absl::StrCat("decoding the ", what, " takes ", bytes, " bytes of memory; at most ",
                           options_.decode_memory, " are allowed"));
}

absl::Status NoTower(absl::string_view medium) {
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("this encoder's mmproj file has no ", medium, " tower"),
                   {.reason = reason::kNoTower, .field = "data"});
}

absl::StatusOr<std::unique_ptr<Encoder>> Encoder::Load(const EncoderOptions& options) {
  ASSIGN_OR_RETURN(std::unique_ptr<gguf::File> file, gguf::File::Open(options.mmproj_path));
  // Before the whole file is read: it may be one of another kind.
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(*file));
  if (towers.image) RETURN_IF_ERROR(VisionConfig::FromGguf(*file).status());
  if (towers.audio) RETURN_IF_ERROR(AudioConfig::FromGguf(*file).status());
  ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend, MakeBackend(options.backend));
  // Next to packing: both mostly wait for the disk.
  std::future<Digest> fingerprint =
      std::async(std::launch::async, [&] { return Fingerprint(*file, Version(options)); });
  ASSIGN_OR_RETURN(Models models, Models::Load(*file, towers, *backend, options));
  const Digest digest = fingerprint.get();
  auto encoder = std::make_unique<EncoderImpl>(options, std::move(file), std::move(backend),
                                               std::move(models), digest);
  if (const absl::Status works = encoder->Try(); !works.ok()) {
    return Annotate(works, absl::StrCat(options.mmproj_path, ": the first pass failed"));
  }
  return encoder;
}

}  // namespace softsplice

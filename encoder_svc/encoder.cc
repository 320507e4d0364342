// The encoder engine: loading, and whether it works.
#include "encoder_svc/encoder.h"

#include <algorithm>
#include <future>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/audio_config.h"
#include "common/config/mmproj.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/fingerprint.h"
#include "kernels/backend_factory.h"
#include "kernels/choose_backend.h"
#include "kernels/footprint.h"

namespace softsplice {
namespace {

// Changes whenever the same weights and the same medium would give other rows.
constexpr absl::string_view kVersion = "softsplice image preprocessing 1, audio preprocessing 1";

std::string Version(const EncoderOptions& options) {
  return absl::StrCat(kVersion, options.quick_gelu ? ", quick gelu" : "",
                      options.mel_floor == MelFloor::kMax ? ", max mel floor" : "");
}

EncoderOptions Fitted(EncoderOptions options) {
  // Two where there is but one: what a process decodes leaves a thread to others.
  const int cpus = std::max(2, static_cast<int>(std::thread::hardware_concurrency()));
  options.decode_threads = std::clamp(options.decode_threads, 1, cpus);
  return options;
}

absl::Status CheckNamedOnce(const std::vector<int>& devices) {
  if (devices.empty()) return InvalidField("devices", "no device is named");
  const std::set<int> different(devices.begin(), devices.end());
  if (different.size() == devices.size()) return absl::OkStatus();
  return InvalidField("devices",
                      absl::StrCat("a device is named twice in ", absl::StrJoin(devices, ",")));
}

absl::StatusOr<Footprint> MeasureOn(CountingBackend& counter, const gguf::File& file, Towers towers,
                                    const EncoderOptions& options) {
  ASSIGN_OR_RETURN(Models models, Models::Load(file, towers, counter, options));
  return models.Measure(counter);
}

absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeBackends(const EncoderOptions& options,
                                                                   const Choice& choice) {
  BackendOptions one = options.backend;
  one.name = choice.name;
  std::vector<std::unique_ptr<Backend>> backends;
  for (const int device : options.devices) {
    if (choice.name != "cuda" && !backends.empty()) break;  // the processor is one
    one.device = device;
    ASSIGN_OR_RETURN(backends.emplace_back(), MakeBackend(one));
  }
  return backends;
}

}  // namespace

EncoderImpl::EncoderImpl(const EncoderOptions& options, std::unique_ptr<gguf::File> file,
                         std::unique_ptr<ModelPool> models, const EncoderInfo& info)
    : options_(Fitted(options)),
      file_(std::move(file)),
      models_(std::move(models)),
      info_(info),
      shared_(options.cache_bytes, info.dim),
      pipeline_(options_, models_->size()) {}

absl::Status EncoderImpl::health() const {
  RETURN_IF_ERROR(passes_.verdict());
  return file_->CheckUnchanged();
}

EncoderLoadFigures EncoderImpl::load() const {
  EncoderLoadFigures load = pipeline_.load();
  shared_.AddTo(load);
  return load;
}

void EncoderImpl::Shutdown() {
  pipeline_.Shutdown();
  shared_.ResumeAll();
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

absl::Status CheckWanted(const CancelToken& cancel, absl::Duration deadline) {
  if (cancel.cancelled()) return Medium::Cancelled();
  return SteadyNow() < deadline ? absl::OkStatus() : Medium::Late();
}

absl::StatusOr<Footprint> Encoder::Measure(const gguf::File& file, const EncoderOptions& options) {
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(file));
  ASSIGN_OR_RETURN(const auto counter, MakeCounter(options.backend));
  return MeasureOn(*counter, file, towers, options);
}

absl::StatusOr<std::unique_ptr<Encoder>> Encoder::Load(const EncoderOptions& options) {
  RETURN_IF_ERROR(CheckNamedOnce(options.devices));
  ASSIGN_OR_RETURN(std::unique_ptr<gguf::File> file, gguf::File::Open(options.mmproj_path));
  // Before the whole file is read: it may be one of another kind.
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(*file));
  if (towers.image) RETURN_IF_ERROR(VisionConfig::FromGguf(*file).status());
  if (towers.audio) RETURN_IF_ERROR(AudioConfig::FromGguf(*file).status());
  ASSIGN_OR_RETURN(const Choice choice,
                   ChooseBackend({.backend = options.backend,
                                  .devices = options.devices,
                                  .measure =
                                      [&](CountingBackend& counter, absl::string_view) {
                                        return MeasureOn(counter, *file, towers, options);
                                      },
                                  .device_advice = "take a device that has more, or --backend cpu",
                                  .host_advice = "give it more, or take a file of smaller types"}));
  ASSIGN_OR_RETURN(auto backends, MakeBackends(options, choice));
  const auto progress =
      std::make_shared<WeightProgress>(choice.weight_bytes * backends.size(), options.on_load);
  for (const std::unique_ptr<Backend>& backend : backends) {
    backend->Listen([progress](uint64_t bytes) { progress->Add(bytes); });
  }
  // Next to packing: both mostly wait for the disk.
  std::future<Digest> fingerprint =
      std::async(std::launch::async, [&] { return Fingerprint(*file, Version(options)); });
  ASSIGN_OR_RETURN(std::unique_ptr<ModelPool> models,
                   ModelPool::Load(*file, towers, std::move(backends), options));
  // The host's memory is taken when it is used; a device's is others' by then.
  if (choice.name == "cuda") RETURN_IF_ERROR(models->Reserve());
  EncoderInfo info = models->Info(fingerprint.get());
  info.backend_why = choice.why;
  info.footprint = choice.footprint;
  if (choice.name == "cuda") info.devices = options.devices;
  auto encoder = std::make_unique<EncoderImpl>(options, std::move(file), std::move(models), info);
  options.on_load("first pass", 0);
  if (const absl::Status works = encoder->Try(); !works.ok()) {
    return Annotate(works, absl::StrCat(options.mmproj_path, ": the first pass failed"));
  }
  return encoder;
}

}  // namespace softsplice

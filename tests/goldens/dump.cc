// softsplice-dump JOBS.json: runs the jobs (a JSON array) in order and prints one JSON line per
// job: {"error": …} or its results, with raw little-endian arrays beside `out` (OUT.NAME.bin,
// listed under "arrays"). The C++ half of tests/parity.

#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "decoder_svc/text/chat.h"
#include "encoder_svc/image/decode.h"
#include "encoder_svc/image/resize.h"
#include "tests/goldens/audio_run.h"
#include "tests/goldens/image_run.h"
#include "tests/goldens/text_run.h"
#include "tests/support/synth.h"
#include "tests/support/synth_sound.h"

namespace softsplice::goldens {
namespace {

using Json = nlohmann::json;

constexpr int kPatch = 16;
constexpr int kPool = 3;

// [k, width, height] of the synthetic picture formula.
Picture Synth(const Json& k_w_h) {
  return testing::SynthPicture(k_w_h.at(0), k_w_h.at(1), k_w_h.at(2));
}

// [k, samples] of the synthetic sound formula.
std::vector<float> SynthSound(const Json& k_samples) {
  return testing::SynthSound(k_samples.at(0), k_samples.at(1));
}

// llama.cpp's way where the job asks for it.
MelFloor Floor(const Json& job) {
  return job.value("llama_mel", false) ? MelFloor::kMax : MelFloor::kAdd;
}

MediaKind KindOfPart(absl::string_view type) {
  if (type == "video") return MediaKind::kVideo;
  return type == "image" ? MediaKind::kImage : MediaKind::kAudio;
}

// What a template writes for a medium.
std::string Placeholder(MediaKind kind) {
  if (kind == MediaKind::kVideo) return "<|video|>";
  return kind == MediaKind::kImage ? "<|image|>" : "<|audio|>";
}

// Arrays of one job.
class Output {
 public:
  explicit Output(const Json& job) : prefix_(job.at("out").get<std::string>()) {}

  void Add(absl::string_view name, const HostMatrix& matrix) {
    Write(name, "<f4", Json::array({matrix.rows, matrix.cols}), matrix.values.data(),
          matrix.values.size() * 4);
  }
  void Add(absl::string_view name, const std::vector<int32_t>& values) {
    Write(name, "<i4", Json::array({values.size()}), values.data(), values.size() * 4);
  }
  void Write(absl::string_view name, absl::string_view dtype, Json shape, const void* data,
             size_t bytes) {
    std::ofstream file(absl::StrCat(prefix_, ".", name, ".bin"), std::ios::binary);
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
    result["arrays"][std::string(name)] = {{"dtype", std::string(dtype)},
                                           {"shape", std::move(shape)}};
  }

  Json result = {{"arrays", Json::object()}};

 private:
  std::string prefix_;
};

// Models stay loaded from job to job.
class Runner {
 public:
  absl::Status Run(const Json& job, Output& out) {
    const std::string kind = job.at("kind");
    if (kind == "text") return Text(job, out);
    if (kind == "image") return Image(job, out);
    if (kind == "audio") return Audio(job, out);
    if (kind == "dequantize") return Dequantize(job, out);
    if (kind == "resize") return Resize(job, out);
    if (kind == "decode") return Decode(job, out);
    if (kind == "sizes") return Sizes(job, out);
    if (kind == "mel") return Mel(job, out);
    if (kind == "sound_sizes") return SoundSizes(job, out);
    if (kind == "tokenize") return Tokenize(job, out);
    if (kind == "chat") return Chat(job, out);
    return absl::InvalidArgumentError(absl::StrCat("unknown job kind ", kind));
  }

 private:
  static BackendOptions Backend(const Json& job) {
    return {.name = job.value("backend", "cpu"),
            .exact_weights = job.value("exact_weights", false)};
  }

  // Jobs with the same one share a model.
  static std::string Key(const Json& job, absl::string_view path) {
    const BackendOptions backend = Backend(job);
    return absl::StrCat(path, "|", backend.name, "|", backend.exact_weights);
  }

  absl::StatusOr<ImageModel*> LoadImageModel(const Json& job) {
    const std::string path = job.at("mmproj");
    const bool quick = job.value("quick_gelu", false);
    auto& model = image_models_[absl::StrCat(Key(job, path), "|", quick)];
    if (model == nullptr) {
      ASSIGN_OR_RETURN(model, ImageModel::Load(path, Backend(job), quick));
    }
    return model.get();
  }

  absl::StatusOr<AudioModel*> LoadAudioModel(const Json& job) {
    const std::string path = job.at("mmproj");
    auto& model = audio_models_[Key(job, path)];
    if (model == nullptr) {
      ASSIGN_OR_RETURN(model, AudioModel::Load(path, Backend(job)));
    }
    return model.get();
  }

  // Soft tokens of one medium of a prompt: a picture with its budget, or a sound.
  absl::StatusOr<HostMatrix> Encode(const Json& job, const Json& medium) {
    if (medium.contains("sound")) {
      ASSIGN_OR_RETURN(AudioModel * tower, LoadAudioModel(job));
      return tower->Encode(SynthSound(medium.at("sound")), Floor(job), {});
    }
    ASSIGN_OR_RETURN(ImageModel * tower, LoadImageModel(job));
    ASSIGN_OR_RETURN(ImageResult result,
                     tower->Encode(Synth(medium.at("synth")), medium.at("budget"), {}));
    return std::move(result.soft);
  }

  absl::Status Text(const Json& job, Output& out) {
    const std::string path = job.at("model");
    auto& model = text_models_[Key(job, path)];
    if (model == nullptr) {
      ASSIGN_OR_RETURN(model, TextModel::Load(path, Backend(job)));
    }
    PromptRun run{.tokens = job.at("tokens"),
                  .logit_rows = job.at("logit_rows"),
                  .greedy = job.at("greedy"),
                  .chunk = job.value("chunk", 0),
                  .kv_f32 = job.value("kv_f32", true)};
    for (const Json& medium : job.value("media", Json::array())) {
      ASSIGN_OR_RETURN(HostMatrix soft, Encode(job, medium));
      run.soft.push_back(std::move(soft));
    }
    if (job.value("stages", false)) {
      run.stages = [&](absl::string_view stage, const HostMatrix& values) {
        out.Add(stage, values);
      };
    }
    ASSIGN_OR_RETURN(const TextResult result, model->Run(run));
    out.Add("logits", result.logits);
    out.Add("greedy", result.greedy);
    return absl::OkStatus();
  }

  absl::Status Image(const Json& job, Output& out) {
    ASSIGN_OR_RETURN(ImageModel * tower, LoadImageModel(job));
    StageSink stages;
    if (job.value("stages", false)) {
      stages = [&](absl::string_view stage, const HostMatrix& values) { out.Add(stage, values); };
    }
    ASSIGN_OR_RETURN(const ImageResult result,
                     tower->Encode(Synth(job.at("synth")), job.at("budget"), stages));
    out.Add("soft", result.soft);
    out.result["resized_width"] = result.width;
    out.result["resized_height"] = result.height;
    return absl::OkStatus();
  }

  absl::Status Audio(const Json& job, Output& out) {
    ASSIGN_OR_RETURN(AudioModel * tower, LoadAudioModel(job));
    StageSink stages;
    if (job.value("stages", false)) {
      stages = [&](absl::string_view stage, const HostMatrix& values) { out.Add(stage, values); };
    }
    ASSIGN_OR_RETURN(const HostMatrix soft,
                     tower->Encode(SynthSound(job.at("synth")), Floor(job), stages));
    out.Add("soft", soft);
    return absl::OkStatus();
  }

  static absl::Status Dequantize(const Json& job, Output& out) {
    ASSIGN_OR_RETURN(const auto file, gguf::File::Open(job.at("model")));
    ASSIGN_OR_RETURN(const gguf::Tensor* tensor,
                     file->Find(std::string(job.at("tensor")), {-1, -1}));
    const size_t row = job.at("row");
    std::vector<float> values(static_cast<size_t>(tensor->Cols()));
    gguf::Dequantize(tensor->type, tensor->data + row * tensor->RowBytes(), values.data(),
                     tensor->Cols());
    out.Write("row", "<f4", Json::array({values.size()}), values.data(), values.size() * 4);
    return absl::OkStatus();
  }

  static absl::Status Resize(const Json& job, Output& out) {
    const Picture picture = Synth(job.at("synth"));
    ASSIGN_OR_RETURN(const PictureSize size,
                     TargetSize(picture.width, picture.height, job.at("budget"), kPatch, kPool));
    const Picture resized = ResizeBicubic(picture, size);
    out.Write("rgb", "u1", Json::array({resized.height, resized.width, 3}), resized.rgb.data(),
              resized.rgb.size());
    const Patches patches = MakePatches(resized, kPatch);
    const int cols = kPatch * kPatch * 3;
    HostMatrix ends{2, cols, {patches.values.begin(), patches.values.begin() + cols}};
    ends.values.insert(ends.values.end(), patches.values.end() - cols, patches.values.end());
    out.Add("patches_first_last", ends);
    return absl::OkStatus();
  }

  static absl::Status Decode(const Json& job, Output& out) {
    std::ifstream file(job.at("file").get<std::string>(), std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(file), {});
    ASSIGN_OR_RETURN(const ImageHeader header, ReadImageHeader(bytes, "", {}));
    ASSIGN_OR_RETURN(const Picture picture, DecodeImage(bytes, header));
    out.Write("rgb", "u1", Json::array({picture.height, picture.width, 3}), picture.rgb.data(),
              picture.rgb.size());
    return absl::OkStatus();
  }

  // Width, height and soft tokens of each; -1 where the rule has no answer.
  static absl::Status Sizes(const Json& job, Output& out) {
    std::vector<int32_t> sizes;
    for (const Json& entry : job.at("w_h_budget")) {
      const auto size = TargetSize(entry.at(0), entry.at(1), entry.at(2), kPatch, kPool);
      const int cell = kPatch * kPool;
      const std::vector<int32_t> row =
          size.ok() ? std::vector<int32_t>{size->width, size->height,
                                           size->width / cell * (size->height / cell)}
                    : std::vector<int32_t>{-1, -1, -1};
      sizes.insert(sizes.end(), row.begin(), row.end());
    }
    out.Write("sizes", "<i4", Json::array({sizes.size() / 3, 3}), sizes.data(), sizes.size() * 4);
    return absl::OkStatus();
  }

  // Of a synthetic sound, or of so many samples of one level.
  static absl::Status Mel(const Json& job, Output& out) {
    const std::vector<float> samples =
        job.contains("synth")
            ? SynthSound(job.at("synth"))
            : std::vector<float>(job.at("samples").get<size_t>(), job.at("level").get<float>());
    MelFrames mel = LogMel(samples, MelFloor::kAdd);
    out.Add("mel", {mel.frames, kMelBins, std::move(mel.values)});
    return absl::OkStatus();
  }

  static absl::Status SoundSizes(const Json& job, Output& out) {
    std::vector<int32_t> sizes;
    for (const int64_t samples : job.at("samples")) {
      // One run of soft tokens: what is longer is cut.
      const int frames = MelFrameCount(std::min<int64_t>(samples, kSegmentSamples));
      sizes.insert(sizes.end(), {frames, SoundTokenCount(frames)});
    }
    out.Write("frames_tokens", "<i4", Json::array({sizes.size() / 2, 2}), sizes.data(),
              sizes.size() * 4);
    return absl::OkStatus();
  }

  absl::StatusOr<Tokenizer*> LoadTokenizer(const std::string& path) {
    auto& tokenizer = tokenizers_[path];
    if (tokenizer == nullptr) {
      ASSIGN_OR_RETURN(const auto file, gguf::File::Open(path));
      ASSIGN_OR_RETURN(tokenizer, Tokenizer::FromGguf(*file));
    }
    return tokenizer.get();
  }

  absl::Status Tokenize(const Json& job, Output& out) {
    ASSIGN_OR_RETURN(Tokenizer * tokenizer, LoadTokenizer(job.at("model")));
    for (const Json& text : job.at("texts")) {
      out.result["ids"].push_back(tokenizer->Encode(text.get<std::string>(), true));
    }
    return absl::OkStatus();
  }

  absl::Status Chat(const Json& job, Output& out) {
    ASSIGN_OR_RETURN(Tokenizer * tokenizer, LoadTokenizer(job.at("model")));
    std::vector<ChatMessage> messages;
    int count = 0;
    for (const Json& entry : job.at("messages")) {
      const std::string role = entry.at("role");
      ChatMessage message{role == "system" ? Role::kSystem
                          : role == "user" ? Role::kUser
                                           : Role::kModel,
                          {}};
      const Json& content = entry.at("content");
      if (content.is_string()) message.parts.emplace_back(content.get<std::string>());
      for (const Json& part : content.is_array() ? content : Json::array()) {
        if (part.at("type") == "text") {
          message.parts.emplace_back(part.at("text").get<std::string>());
        } else {
          message.parts.emplace_back(MediaRef{KindOfPart(part.at("type")), count++});
        }
      }
      messages.push_back(std::move(message));
    }
    const ChatTemplate chat(*tokenizer, std::string(job.at("template")));
    ASSIGN_OR_RETURN(
        const auto pieces,
        chat.Render(messages, {.thinking = job.at("thinking"),
                               .add_generation_prompt = job.at("add_generation_prompt")}));
    std::vector<std::string> media;
    for (const PromptPiece& piece : pieces) {
      const auto* ref = std::get_if<MediaRef>(&piece);
      if (ref != nullptr) media.push_back(ref->sound_beside ? "" : Placeholder(ref->kind));
    }
    out.result["text"] = Spell(*tokenizer, pieces, media);
    out.result["known"] = chat.known();
    return absl::OkStatus();
  }

  std::map<std::string, std::unique_ptr<TextModel>> text_models_;
  std::map<std::string, std::unique_ptr<ImageModel>> image_models_;
  std::map<std::string, std::unique_ptr<AudioModel>> audio_models_;
  std::map<std::string, std::unique_ptr<Tokenizer>> tokenizers_;
};

}  // namespace
}  // namespace softsplice::goldens

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: softsplice-dump JOBS.json\n";
    return 2;
  }
  const auto jobs = nlohmann::json::parse(std::ifstream(argv[1]));
  softsplice::goldens::Runner runner;
  for (const auto& job : jobs) {
    softsplice::goldens::Output out(job);
    const absl::Status status = runner.Run(job, out);
    if (!status.ok()) out.result["error"] = std::string(status.message());
    std::cout << out.result.dump() << std::endl;
  }
}

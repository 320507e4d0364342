#include "deploy/cli/encode.h"

#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/hash/crc32c.h"
#include "deploy/cli/client.h"
#include "deploy/cli/files.h"
#include "deploy/cli/media.h"
#include "deploy/cli/options.h"
#include "deploy/cli/terminal.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {
namespace {

struct EncodeOptions {
  std::string file;
  std::string output;
  std::string encoder;
  Access access;
  std::string data_type = "bf16";
  MediaOptions media;
};

// What is sent.
struct Medium {
  FileContent content;
  const char* name = "picture";  // for people
  std::string data;
};

const std::map<std::string, v1::DataType>& DataTypes() {
  static const auto* types = new std::map<std::string, v1::DataType>{
      {"f32", v1::DATA_TYPE_F32}, {"f16", v1::DATA_TYPE_F16}, {"bf16", v1::DATA_TYPE_BF16}};
  return *types;
}

// Puts the stream together. A gap, an early end or a wrong checksum is DATA_LOSS.
template <class Response>
grpc::Status Collect(std::unique_ptr<grpc::ClientReader<Response>> stream, v1::SoftTokens& soft) {
  bool complete = false;
  Response response;
  while (stream->Read(&response)) {
    if (response.has_header()) *soft.mutable_header() = response.header();
    if (response.has_rows()) soft.mutable_data()->append(response.rows().data());
    if (response.has_summary()) {
      soft.set_crc32c(response.summary().crc32c());
      complete = true;
    }
  }
  const grpc::Status status = stream->Finish();
  if (!status.ok()) return status;
  if (!complete || Crc32c(absl::string_view(soft.data())) != soft.crc32c()) {
    return {grpc::StatusCode::DATA_LOSS, "the rows did not arrive as the encoder sent them"};
  }
  return status;
}

Medium MediumOf(const std::string& file, std::string data) {
  Medium medium = {.content = ContentOf(file, data)};
  if (medium.content.kind == ContentKind::kSound) medium.name = "sound";
  if (medium.content.kind == ContentKind::kVideo) medium.name = "video";
  medium.data = std::move(data);
  return medium;
}

// INVALID_ARGUMENT: an option that `medium` can't have.
absl::Status CheckOptions(const EncodeOptions& options, const Medium& medium) {
  const auto wrong = [&](const char* what) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.file, " is a ", medium.name, "; ", what));
  };
  if (medium.content.kind == ContentKind::kSound && options.media.budget != 0) {
    return wrong("--budget is for pictures and videos");
  }
  if (medium.content.kind == ContentKind::kVideo) return absl::OkStatus();
  if (options.media.frames != 0) return wrong("--frames is for videos");
  if (options.media.no_sound) return wrong("--no-sound is for videos");
  return absl::OkStatus();
}

template <class Request>
Request RequestOf(const EncodeOptions& options, Medium medium) {
  Request request;
  request.set_data(std::move(medium.data));
  request.set_mime_type(std::move(medium.content.mime_type));
  request.set_data_type(DataTypes().at(options.data_type));
  return request;
}

grpc::Status Encode(const EncodeOptions& options, Medium medium, v1::EncoderService::Stub& stub,
                    grpc::ClientContext& context, v1::SoftTokens& soft) {
  if (medium.content.kind == ContentKind::kSound) {
    const auto request = RequestOf<v1::EncodeAudioRequest>(options, std::move(medium));
    return Collect(stub.EncodeAudio(&context, request), soft);
  }
  if (medium.content.kind == ContentKind::kVideo) {
    auto request = RequestOf<v1::EncodeVideoRequest>(options, std::move(medium));
    request.set_max_soft_tokens(options.media.budget);
    request.set_max_frames(options.media.frames);
    request.set_without_sound(options.media.no_sound);
    return Collect(stub.EncodeVideo(&context, request), soft);
  }
  auto request = RequestOf<v1::EncodeImageRequest>(options, std::move(medium));
  request.set_max_soft_tokens(options.media.budget);
  return Collect(stub.EncodeImage(&context, request), soft);
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

// "rows 0 to 65" of a frame or a segment.
template <class Piece>
std::string Rows(const Piece& piece) {
  return absl::StrCat("rows ", piece.first_row(), " to ", piece.first_row() + piece.rows() - 1);
}

using Segments = google::protobuf::RepeatedPtrField<v1::AudioSegment>;

std::string SoundLines(const Segments& segments) {
  std::string lines;
  for (const v1::AudioSegment& segment : segments) {
    const double start = Seconds(segment.start());
    absl::StrAppendFormat(&lines, "  sound from %.2f s to %.2f s: %s\n", start,
                          start + Seconds(segment.duration()), Rows(segment));
  }
  return lines;
}

std::string Describe(const v1::ImageLayout& image) {
  return absl::StrCat(", grid ", image.grid_columns(), "x", image.grid_rows(), ", picture ",
                      image.source_width(), "x", image.source_height(), " read as ",
                      image.resized_width(), "x", image.resized_height(), "\n");
}

// The segments of a long sound on lines of their own.
std::string Describe(const v1::AudioLayout& audio) {
  double seconds = 0;
  for (const v1::AudioSegment& segment : audio.segments()) seconds += Seconds(segment.duration());
  const std::string all = absl::StrFormat(", sound of %.2f s", seconds);
  if (audio.segments_size() < 2) return all + "\n";
  return absl::StrCat(all, " in ", audio.segments_size(), " segments\n",
                      SoundLines(audio.segments()));
}

// Each frame and each segment of the sound on a line of its own.
std::string Describe(const v1::VideoLayout& video) {
  std::string text = absl::StrFormat(", video of %.2f s, %d frames", Seconds(video.duration()),
                                     video.frames_size());
  absl::StrAppend(&text, Describe(video.frame()));
  for (const v1::VideoFrame& frame : video.frames()) {
    absl::StrAppendFormat(&text, "  frame at %.2f s: %s\n", Seconds(frame.time()), Rows(frame));
  }
  return absl::StrCat(text, SoundLines(video.sound()));
}

std::string Describe(const v1::SoftTokensHeader& header) {
  if (header.has_video()) return Describe(header.video());
  return header.has_audio() ? Describe(header.audio()) : Describe(header.image());
}

int RunEncode(const EncodeOptions& options, Interrupts& interrupts) {
  absl::StatusOr<std::string> data = ReadFile(options.file, interrupts);
  if (!data.ok()) {
    const int exit_code = ReportFailure(data.status(), false);
    return exit_code == kExitInterrupted ? exit_code : kExitUsage;
  }
  Medium medium = MediumOf(options.file, *std::move(data));
  if (const absl::Status options_fit = CheckOptions(options, medium); !options_fit.ok()) {
    ReportFailure(options_fit, false);
    return kExitUsage;
  }
  const auto channel = Connect(options.encoder, options.access, interrupts);
  if (!channel.ok()) return ReportFailure(channel.status(), false);
  grpc::ClientContext context;
  interrupts.OnRaise([&] { context.TryCancel(); });
  v1::SoftTokens soft;
  grpc::Status status;
  {
    Progress progress(absl::StrCat("encoding the ", medium.name));
    const auto stub = v1::EncoderService::NewStub(*channel);
    status = Encode(options, std::move(medium), *stub, context, soft);
  }
  interrupts.OnRaise({});
  if (!status.ok() && interrupts.raised()) return kExitInterrupted;
  if (!status.ok()) return ReportCallFailure(status, false);
  if (const absl::Status written = WriteFile(options.output, soft.SerializeAsString(), interrupts);
      !written.ok()) {
    return ReportFailure(written, false);
  }
  const v1::SoftTokensHeader& header = soft.header();
  (options.output == kStream ? std::cerr : std::cout)
      << absl::StrCat(options.output, ": ", header.rows(), " rows of ", header.dim(), " ",
                      options.data_type, Describe(header));
  return kExitOk;
}

}  // namespace

void AddEncode(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* encode =
      app.add_subcommand("encode", "Turn a picture, sound or video into a file of soft tokens");
  const auto options = std::make_shared<EncodeOptions>();
  encode
      ->add_option(
          "file", options->file,
          "The picture (PNG, JPEG, WebP, HEIC, AVIF, GIF, BMP), sound (WAV, FLAC, OGG, MP3, "
          "M4A, WebM) or video (MP4, MOV, WebM, Matroska); - for standard input")
      ->option_text("(required)")
      ->required()
      ->check(FileOrStream());
  encode
      ->add_option("-o,--output", options->output,
                   "The file to write; - for standard output, with what is said of it on stderr")
      ->option_text("FILE (required)")
      ->required();
  AddMediaOptions(*encode, options->media);
  encode->add_option("--data-type", options->data_type, "f32, f16 or bf16 (default: bf16)")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  AddEncoder(*encode, options->encoder);
  AddAccess(*encode, options->access);
  encode->footer(R"(
Examples:
  softsplice encode photo.jpg -o photo.soft
  softsplice chat --soft photo.soft "What is in this picture?"
  softsplice encode talk.mp3 -o talk.soft
  softsplice encode clip.mp4 -o clip.soft --frames 16
  softsplice encode photo.jpg -o - | ssh elsewhere 'softsplice chat --soft - "What is it?"'

A sound of more than 30 seconds has several segments, which are listed, as are a video's frames and
its sound. The file is a softsplice.v1.SoftTokens message (proto/softsplice/v1/soft_tokens.proto).)");
  encode->callback([=, &interrupts, &exit_code] { exit_code = RunEncode(*options, interrupts); });
}

}  // namespace softsplice

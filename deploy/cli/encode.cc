#include "deploy/cli/encode.h"

#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/hash/crc32c.h"
#include "common/media/kind.h"
#include "deploy/cli/client.h"
#include "deploy/cli/files.h"
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
  uint32_t budget = 0;
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

bool IsHeard(absl::string_view data) {
  const ContentKind kind = KindOf("", data);
  return kind == ContentKind::kSound || kind == ContentKind::kVideo;
}

// Asks for the picture or sound `data`.
grpc::Status Encode(const EncodeOptions& options, bool sound, std::string data,
                    v1::EncoderService::Stub& stub, grpc::ClientContext& context,
                    v1::SoftTokens& soft) {
  const v1::DataType type = DataTypes().at(options.data_type);
  if (!sound) {
    v1::EncodeImageRequest request;
    request.set_data(std::move(data));
    request.set_max_soft_tokens(options.budget);
    request.set_data_type(type);
    return Collect(stub.EncodeImage(&context, request), soft);
  }
  v1::EncodeAudioRequest request;
  if (!IsHeard(data)) request.set_mime_type(std::string(TypeOfName(options.file)));
  request.set_data(std::move(data));
  request.set_data_type(type);
  return Collect(stub.EncodeAudio(&context, request), soft);
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

std::string DescribeImage(const v1::ImageLayout& image) {
  return absl::StrCat(", grid ", image.grid_columns(), "x", image.grid_rows(), ", picture ",
                      image.source_width(), "x", image.source_height(), " read as ",
                      image.resized_width(), "x", image.resized_height(), "\n");
}

// The segments of a long sound on lines of their own.
std::string DescribeAudio(const v1::AudioLayout& audio) {
  double seconds = 0;
  std::string lines;
  for (const v1::AudioSegment& segment : audio.segments()) {
    const double start = Seconds(segment.start());
    const double duration = Seconds(segment.duration());
    seconds += duration;
    absl::StrAppendFormat(&lines, "  %.2f s to %.2f s: rows %u to %u\n", start, start + duration,
                          segment.first_row(), segment.first_row() + segment.rows() - 1);
  }
  const std::string all = absl::StrFormat(", sound of %.2f s", seconds);
  if (audio.segments_size() < 2) return all + "\n";
  return absl::StrCat(all, " in ", audio.segments_size(), " segments\n", lines);
}

int RunEncode(const EncodeOptions& options, Interrupts& interrupts) {
  absl::StatusOr<std::string> data = ReadFile(options.file, interrupts);
  if (!data.ok()) {
    const int exit_code = ReportFailure(data.status(), false);
    return exit_code == kExitInterrupted ? exit_code : kExitUsage;
  }
  const bool sound = IsHeard(*data) || !TypeOfName(options.file).empty();
  if (sound && options.budget != 0) {
    ReportFailure(absl::InvalidArgumentError(
                      absl::StrCat(options.file, " is a sound; --budget is for pictures")),
                  false);
    return kExitUsage;
  }
  const auto channel = Connect(options.encoder, options.access, interrupts);
  if (!channel.ok()) return ReportFailure(channel.status(), false);
  grpc::ClientContext context;
  interrupts.OnRaise([&] { context.TryCancel(); });
  v1::SoftTokens soft;
  grpc::Status status;
  {
    Progress progress(sound ? "encoding the sound" : "encoding the picture");
    const auto stub = v1::EncoderService::NewStub(*channel);
    status = Encode(options, sound, *std::move(data), *stub, context, soft);
  }
  interrupts.OnRaise({});
  if (!status.ok() && interrupts.raised()) return kExitInterrupted;
  if (!status.ok()) return ReportCallFailure(status, false);
  if (const absl::Status written = WriteFile(options.output, soft.SerializeAsString(), interrupts);
      !written.ok()) {
    return ReportFailure(written, false);
  }
  const v1::SoftTokensHeader& header = soft.header();
  (options.output == kStream ? std::cerr : std::cout) << absl::StrCat(
      options.output, ": ", header.rows(), " rows of ", header.dim(), " ", options.data_type,
      sound ? DescribeAudio(header.audio()) : DescribeImage(header.image()));
  return kExitOk;
}

}  // namespace

void AddEncode(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* encode =
      app.add_subcommand("encode", "Turn a picture or a sound into a file of soft tokens");
  const auto options = std::make_shared<EncodeOptions>();
  encode
      ->add_option("file", options->file,
                   "The picture (PNG, JPEG, WebP, HEIC, AVIF, GIF, BMP) or sound (WAV, FLAC, OGG, "
                   "MP3, M4A, WebM); - for standard input")
      ->option_text("(required)")
      ->required()
      ->check(FileOrStream());
  encode
      ->add_option("-o,--output", options->output,
                   "The file to write; - for standard output, with what is said of it on stderr")
      ->option_text("FILE (required)")
      ->required();
  AddBudget(*encode, options->budget);
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
  softsplice encode photo.jpg -o - | ssh elsewhere 'softsplice chat --soft - "What is it?"'

A sound of more than 30 seconds has several segments, which are listed. The file is a
softsplice.v1.SoftTokens message (proto/softsplice/v1/soft_tokens.proto).)");
  encode->callback([=, &interrupts, &exit_code] { exit_code = RunEncode(*options, interrupts); });
}

}  // namespace softsplice

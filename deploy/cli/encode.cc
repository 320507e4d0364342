#include "deploy/cli/encode.h"

#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/hash/crc32c.h"
#include "deploy/cli/client.h"
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
  std::string data_type = "bf16";
  uint32_t budget = 0;
};

const std::map<std::string, v1::DataType>& DataTypes() {
  static const auto* types = new std::map<std::string, v1::DataType>{
      {"f32", v1::DATA_TYPE_F32}, {"f16", v1::DATA_TYPE_F16}, {"bf16", v1::DATA_TYPE_BF16}};
  return *types;
}

// Puts the stream together. A gap, an early end or a wrong checksum is DATA_LOSS.
grpc::Status Collect(grpc::ClientReader<v1::EncodeImageResponse>& stream, v1::SoftTokens& soft) {
  bool complete = false;
  v1::EncodeImageResponse response;
  while (stream.Read(&response)) {
    if (response.has_header()) *soft.mutable_header() = response.header();
    if (response.has_rows()) soft.mutable_data()->append(response.rows().data());
    if (response.has_summary()) {
      soft.set_crc32c(response.summary().crc32c());
      complete = true;
    }
  }
  const grpc::Status status = stream.Finish();
  if (!status.ok()) return status;
  if (!complete || Crc32c(absl::string_view(soft.data())) != soft.crc32c()) {
    return {grpc::StatusCode::DATA_LOSS, "the rows did not arrive as the encoder sent them"};
  }
  return status;
}

int RunEncode(const EncodeOptions& options, Interrupts& interrupts) {
  v1::EncodeImageRequest request;
  absl::StatusOr<std::string> data = ReadFile(options.file);
  if (!data.ok()) {
    ReportFailure(data.status(), false);
    return kExitUsage;
  }
  request.set_data(*std::move(data));
  request.set_max_soft_tokens(options.budget);
  request.set_data_type(DataTypes().at(options.data_type));

  const auto channel = Connect(options.encoder, interrupts);
  if (!channel.ok()) return ReportFailure(channel.status(), false);
  grpc::ClientContext context;
  interrupts.OnRaise([&] { context.TryCancel(); });
  v1::SoftTokens soft;
  grpc::Status status;
  {
    Progress progress("encoding the picture");
    status = Collect(*v1::EncoderService::NewStub(*channel)->EncodeImage(&context, request), soft);
  }
  interrupts.OnRaise({});
  if (!status.ok() && interrupts.raised()) return kExitInterrupted;
  if (!status.ok()) return ReportCallFailure(status, false);
  if (const absl::Status written = WriteFile(options.output, soft.SerializeAsString());
      !written.ok()) {
    return ReportFailure(written, false);
  }
  const v1::ImageLayout& image = soft.header().image();
  std::cout << absl::StrCat(options.output, ": ", soft.header().rows(), " rows of ",
                            soft.header().dim(), " ", options.data_type, ", grid ",
                            image.grid_columns(), "x", image.grid_rows(), ", picture ",
                            image.source_width(), "x", image.source_height(), " read as ",
                            image.resized_width(), "x", image.resized_height(), "\n");
  return kExitOk;
}

}  // namespace

void AddEncode(CLI::App& app, Interrupts& interrupts, int& exit_code) {
  auto* encode = app.add_subcommand("encode", "Turn a picture into a file of soft tokens");
  const auto options = std::make_shared<EncodeOptions>();
  encode->add_option("file", options->file, "The picture: PNG, JPEG, BMP or GIF")
      ->option_text("(required)")
      ->required()
      ->check(CLI::ExistingFile);
  encode->add_option("-o,--output", options->output, "The file to write")
      ->option_text("FILE (required)")
      ->required();
  AddBudget(*encode, options->budget);
  encode->add_option("--data-type", options->data_type, "f32, f16 or bf16 (default: bf16)")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  AddEncoder(*encode, options->encoder);
  encode->footer(R"(
Example:
  softsplice encode photo.jpg -o photo.soft
  softsplice chat --soft photo.soft "What is in this picture?"

The file is a softsplice.v1.SoftTokens message (proto/softsplice/v1/soft_tokens.proto).)");
  encode->callback([=, &interrupts, &exit_code] { exit_code = RunEncode(*options, interrupts); });
}

}  // namespace softsplice

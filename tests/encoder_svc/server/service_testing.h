// The encoder service over a real socket, with an encoder that does as the test says.
#pragma once

#include <grpcpp/create_channel.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/server/server.h"
#include "encoder_svc/server/service.h"
#include "gtest/gtest.h"
#include "softsplice/v1/encoder.grpc.pb.h"
#include "tests/encoder_svc/server/fake_encoder.h"

namespace softsplice {

class EncoderService : public testing::Test {
 protected:
  EncoderService() {
    const std::string address = absl::StrCat("unix:", testing::TempDir(), "/enc", getpid());
    auto server = Server::Start({.listen = address}, border_, {MakeEncoderService(context_)});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    // As a default client: no options at all.
    stub_ = v1::EncoderService::NewStub(
        grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  }

  // All messages of a call.
  std::vector<v1::EncodeImageResponse> Encode(const v1::EncodeImageRequest& request,
                                              grpc::Status* status) {
    grpc::ClientContext context;
    auto reader = stub_->EncodeImage(&context, request);
    std::vector<v1::EncodeImageResponse> messages;
    v1::EncodeImageResponse message;
    while (reader->Read(&message)) messages.push_back(message);
    *status = reader->Finish();
    return messages;
  }

  const Logger logger_{LogFormat::kText, LogLevel::kError};
  // Before what may hold calls.
  Metrics metrics_;
  const CallMetrics call_metrics_{metrics_, EncoderServiceDescriptor()};
  const EncoderMetrics encoder_metrics_{metrics_};
  Border border_{{}};
  FakeEncoder encoder_;
  Workers workers_{1};
  const Calls calls_{logger_, border_, workers_, call_metrics_};
  const EncoderContext context_{.encoder = encoder_,
                                .options = {.max_media_bytes = 123,
                                            .max_image_pixels = 456,
                                            .max_audio_duration = absl::Seconds(90),
                                            .max_video_duration = absl::Seconds(70),
                                            .ffmpeg = "softsplice-ffmpeg",
                                            .max_queue = 5,
                                            .cache_bytes = 789},
                                .calls = calls_,
                                .metrics = encoder_metrics_};
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::EncoderService::Stub> stub_;
};

inline v1::EncodeImageRequest Request(int budget, v1::DataType type = v1::DATA_TYPE_UNSPECIFIED) {
  v1::EncodeImageRequest request;
  request.set_data("picture");
  request.set_max_soft_tokens(budget);
  request.set_data_type(type);
  return request;
}

}  // namespace softsplice

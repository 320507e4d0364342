// An encoder service that answers as the test says.
#pragma once

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "common/hash/crc32c.h"
#include "softsplice/v1/encoder.grpc.pb.h"

namespace softsplice {

class FakeEncoderService final : public v1::EncoderService::Service {
 public:
  // What EncodeImage does; the default sends `rows` good rows of `dim` numbers in chunks of two.
  using Writer = grpc::ServerWriter<v1::EncodeImageResponse>;
  std::function<grpc::Status(grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*)> encode =
      [this](grpc::ServerContext*, const v1::EncodeImageRequest* request, Writer* writer) {
        return Good(*request, writer);
      };
  // The same for EncodeAudio.
  using AudioWriter = grpc::ServerWriter<v1::EncodeAudioResponse>;
  std::function<grpc::Status(grpc::ServerContext*, const v1::EncodeAudioRequest*, AudioWriter*)>
      encode_audio = [this](grpc::ServerContext*, const v1::EncodeAudioRequest* request,
                            AudioWriter* writer) { return Good(*request, writer); };
  // The same for EncodeVideo.
  using VideoWriter = grpc::ServerWriter<v1::EncodeVideoResponse>;
  std::function<grpc::Status(grpc::ServerContext*, const v1::EncodeVideoRequest*, VideoWriter*)>
      encode_video = [this](grpc::ServerContext*, const v1::EncodeVideoRequest* request,
                            VideoWriter* writer) { return Good(*request, writer); };
  uint32_t rows = 5;
  std::vector<uint32_t> segments;  // rows of each segment of a sound; none: no layout
  std::vector<uint32_t> frames;    // of a video, at 0, 31, 62 … seconds; its sound is behind them
  uint32_t dim = 4;
  std::string fingerprint = std::string(32, 'f');
  v1::EncoderLoad load;
  uint32_t max_queue = 0;
  // What GetEncoderInfo does first.
  std::function<void(grpc::ServerContext*)> before_info = [](grpc::ServerContext*) {};
  std::atomic<int> calls = 0;
  std::string authority;  // that it was last called by

  template <class Response = v1::EncodeImageResponse>
  Response Header() const {
    Response message;
    if constexpr (std::is_same_v<Response, v1::EncodeImageResponse>) {
      message.mutable_header()->set_modality(v1::MODALITY_IMAGE);
    } else if constexpr (std::is_same_v<Response, v1::EncodeVideoResponse>) {
      message.mutable_header()->set_modality(v1::MODALITY_VIDEO);
      v1::VideoLayout* video = message.mutable_header()->mutable_video();
      uint32_t first = 0;
      for (const uint32_t count : frames) {
        v1::VideoFrame* frame = video->add_frames();
        frame->mutable_time()->set_seconds(31 * (video->frames_size() - 1));
        frame->mutable_time()->set_nanos(999'999'999);
        frame->set_first_row(first);
        frame->set_rows(count);
        first += count;
      }
      AddSegments(first, video->mutable_sound());
    } else {
      message.mutable_header()->set_modality(v1::MODALITY_AUDIO);
      if (!segments.empty()) {
        AddSegments(0, message.mutable_header()->mutable_audio()->mutable_segments());
      }
    }
    message.mutable_header()->set_rows(rows);
    message.mutable_header()->set_dim(dim);
    message.mutable_header()->set_data_type(v1::DATA_TYPE_F32);
    message.mutable_header()->set_encoder_fingerprint(fingerprint);
    return message;
  }
  void AddSegments(uint32_t first, google::protobuf::RepeatedPtrField<v1::AudioSegment>* to) const {
    for (const uint32_t count : segments) {
      v1::AudioSegment* segment = to->Add();
      segment->set_first_row(first);
      segment->set_rows(count);
      first += count;
    }
  }
  // Row r is r, r, r …
  std::string Row(uint32_t row) const {
    const std::vector<float> values(dim, static_cast<float>(row));
    return std::string(reinterpret_cast<const char*>(values.data()), dim * sizeof(float));
  }
  template <class Response = v1::EncodeImageResponse>
  Response Rows(uint32_t first, uint32_t count) const {
    Response message;
    message.mutable_rows()->set_first_row(first);
    for (uint32_t i = 0; i < count; ++i) *message.mutable_rows()->mutable_data() += Row(first + i);
    return message;
  }
  template <class Response = v1::EncodeImageResponse>
  Response Summary(uint32_t count) const {
    std::string data;
    for (uint32_t i = 0; i < count; ++i) data += Row(i);
    Response message;
    message.mutable_summary()->set_crc32c(Crc32c(data));
    return message;
  }
  template <class Request, class Response>
  grpc::Status Good(const Request& request, grpc::ServerWriter<Response>* writer) const {
    writer->Write(Header<Response>());
    for (uint32_t i = 0; i < rows && !request.header_only(); i += 2) {
      writer->Write(Rows<Response>(i, std::min(2u, rows - i)));
    }
    writer->Write(Summary<Response>(request.header_only() ? 0 : rows));
    return grpc::Status::OK;
  }

  grpc::Status EncodeImage(grpc::ServerContext* context, const v1::EncodeImageRequest* request,
                           Writer* writer) override {
    ++calls;
    return encode(context, request, writer);
  }
  grpc::Status EncodeAudio(grpc::ServerContext* context, const v1::EncodeAudioRequest* request,
                           AudioWriter* writer) override {
    ++calls;
    return encode_audio(context, request, writer);
  }
  grpc::Status EncodeVideo(grpc::ServerContext* context, const v1::EncodeVideoRequest* request,
                           VideoWriter* writer) override {
    ++calls;
    return encode_video(context, request, writer);
  }
  grpc::Status GetEncoderInfo(grpc::ServerContext* context, const v1::GetEncoderInfoRequest*,
                              v1::GetEncoderInfoResponse* response) override {
    before_info(context);
    authority = std::string(context->ExperimentalGetAuthority().data(),
                            context->ExperimentalGetAuthority().size());
    *response->mutable_load() = load;
    response->mutable_limits()->set_max_queue(max_queue);
    response->set_dim(dim);
    response->set_encoder_fingerprint(fingerprint);
    response->set_has_image_tower(true);
    response->set_has_audio_tower(true);
    return grpc::Status::OK;
  }
};

inline std::string TestAddress(const std::string& name) {
  return "unix:" + testing::TempDir() + name + std::to_string(getpid());
}

// A server of it. Stop() ends it as a crash would: what runs is cut off.
class FakeEncoderServer {
 public:
  // With a `max_age` connections end by their age, as at a service behind a balancer.
  FakeEncoderServer(const std::string& address, FakeEncoderService* service,
                    std::chrono::milliseconds max_age = {}) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service);
    if (max_age.count() > 0) {
      builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, static_cast<int>(max_age.count()));
    }
    // For this server only: ours answer health themselves.
    grpc::EnableDefaultHealthCheckService(true);
    server_ = builder.BuildAndStart();
    grpc::EnableDefaultHealthCheckService(false);
    if (server_ == nullptr) return;
    SetServing(true);
  }
  ~FakeEncoderServer() { Stop(); }
  // What its health says.
  void SetServing(bool serving) {
    server_->GetHealthCheckService()->SetServingStatus(v1::EncoderService::service_full_name(),
                                                       serving);
  }
  int port() const { return port_; }  // 0: it could not listen
  void Stop() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

 private:
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace softsplice

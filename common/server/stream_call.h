// The one reactor under every method of both services: a request, then messages, then a status.
//
// On the wire a unary call and one that streams its answer are streams both ways, so all methods
// are served as such: then a call begins here when its headers arrive, before its request is read,
// and what it costs can be bounded from there on.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/server/message.h"
#include "common/server/server_call.h"
#include "common/status/error.h"

namespace softsplice {

template <class Request, class Response>
class StreamCall : public grpc::ServerBidiReactor<grpc::ByteBuffer, Response>, public ServerCall {
 public:
  using ResponseType = Response;

  StreamCall(Call call, const Calls& calls, CallWeight weight)
      : ServerCall(std::move(call), calls, weight) {}

  // Once it is owned by a shared pointer.
  void Start() {
    self_ = shared_from_this();
    if (Enter()) this->StartRead(&bytes_);
  }

  void OnReadDone(bool ok) final {
    if (!ok) return OnNoRequest();
    OnRequest();
    // gRPC would look at the size too, and at no better time, but would not say it our way.
    const uint64_t limit = calls().border.options().max_request_bytes;
    if (bytes_.Length() > limit) {
      return End(OverLimit("", absl::StrCat("the message has ", bytes_.Length(), " bytes; at most ",
                                            limit, " are taken")));
    }
    // Who is refused, since others came meanwhile, costs no parsing and waits for no worker.
    if (const absl::Status status = TakeRoom(); !status.ok()) return End(status);
    constexpr size_t kParsedAtOnce = 64 << 10;
    if (weight() == CallWeight::kLight && bytes_.Length() <= kParsedAtOnce) return Take();
    calls().workers.Add([self = shared_from_this(), this] { Take(); });
  }
  void OnSendInitialMetadataDone(bool ok) final { OnWritten(ok); }
  void OnWriteDone(bool ok) final { OnWritten(ok); }
  void OnCancel() final { OnClientGone(); }
  void OnDone() final {
    calls().border.Leave(this);
    // Ends this object's life, unless its work still holds it.
    const std::shared_ptr<ServerCall> self = std::move(self_);
  }

 protected:
  // The request is here. On one of gRPC's threads for a small one of a light call, else on a
  // worker.
  virtual void Begin(const Request& request) = 0;
  // ServerCall::FillMessage, with the message, which is empty.
  virtual bool Next(Response* message) = 0;

  // From Begin on.
  const Request& request() const { return request_; }
  // To take out of it what is large, so that it needn't live as long as the call.
  Request& mutable_request() { return request_; }

 private:
  void Take() {
    Guard([this] {
      {
        const std::lock_guard lock(mutex_);
        if (ended()) return;
      }
      grpc::ByteBuffer bytes;
      bytes.Swap(&bytes_);
      const absl::Status status = ParseRequest(&bytes, &request_, &lease());
      if (!status.ok()) return End(status);
      Begin(request_);
    });
  }
  bool FillMessage() final {
    message_.Clear();
    return Next(&message_);
  }
  void StartWriting() final { this->StartWrite(&message_); }
  void StartHeaders() final { this->StartSendInitialMetadata(); }
  void StartFinish(const grpc::Status& status) final { this->Finish(status); }

  std::shared_ptr<ServerCall> self_;  // until OnDone
  grpc::ByteBuffer bytes_;            // the request, as it came
  Request request_;
  Response message_;  // being written
};

// A call with one message for an answer.
template <class Request, class Response>
class AnswerCall : public StreamCall<Request, Response> {
 public:
  using StreamCall<Request, Response>::StreamCall;

 protected:
  void Answer(Response response) {
    std::unique_lock lock(this->mutex_);
    if (this->ended()) return;
    response_ = std::move(response);
    this->End(absl::OkStatus(), std::move(lock));
  }

 private:
  bool Next(Response* message) final {
    if (!response_) return false;
    *message = *std::exchange(response_, std::nullopt);
    return true;
  }

  std::optional<Response> response_;
};

}  // namespace softsplice

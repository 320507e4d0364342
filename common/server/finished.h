// A server-streaming call that ends before it begins.
#pragma once

#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

namespace softsplice {

template <class Response>
class FinishedStream final : public grpc::ServerWriteReactor<Response> {
 public:
  explicit FinishedStream(const grpc::Status& status) { this->Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace softsplice

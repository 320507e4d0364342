// A gRPC service all of whose methods are StreamCalls.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/server/calls.h"

namespace softsplice {

// A method that nobody serves is UNIMPLEMENTED, as in any service.
class CallService : public grpc::Service {
 protected:
  CallService(const google::protobuf::ServiceDescriptor* descriptor, const Calls& calls)
      : descriptor_(descriptor), calls_(calls) {}

  // Every call of `method` is a new MethodCall(Call, Calls, context); `context` outlives the
  // service.
  template <class MethodCall, class Context>
  void Serve(const std::string& method, Context& context) {
    using Response = typename MethodCall::ResponseType;
    const auto begin = [this, method, &context](grpc::CallbackServerContext* from)
        -> grpc::ServerBidiReactor<grpc::ByteBuffer, Response>* {
      auto call = std::make_shared<MethodCall>(calls_.Begin(from, descriptor_->name(), method),
                                               calls_, context);
      call->Start();
      return call.get();
    };
    const std::string path = absl::StrCat("/", descriptor_->full_name(), "/", method);
    paths_.push_back(std::make_unique<std::string>(path));
    // As generated code does it for the types of methods that it knows.
    AddMethod(new grpc::internal::RpcServiceMethod(
        paths_.back()->c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodCallback(static_cast<int>(paths_.size()) - 1,
                       new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, Response>(begin));
  }

 private:
  const google::protobuf::ServiceDescriptor* const descriptor_;
  const Calls calls_;
  std::vector<std::unique_ptr<std::string>> paths_;  // gRPC keeps pointers to them
};

}  // namespace softsplice

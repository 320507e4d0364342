// A gRPC service all of whose methods are StreamCalls.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/server/calls.h"
#include "common/server/raw_message.h"
#include "common/workers/short_turns.h"

namespace softsplice {

// A method that nobody serves is UNIMPLEMENTED, as in any service.
class CallService : public RawService {
 protected:
  CallService(const google::protobuf::ServiceDescriptor* descriptor, const Calls& calls)
      : descriptor_(descriptor), calls_(calls) {}

  // Every call of `method` is a new MethodCall(Call, Calls, context); `context` outlives the
  // service.
  template <class MethodCall, class Context>
  void Serve(const std::string& method, Context& context) {
    using Response = typename MethodCall::ResponseType;
    const auto begin = [this, method,
                        &context](grpc::CallbackServerContext* from) -> Reactor<Response>* {
      TakeShortTurns();
      auto call = std::make_shared<MethodCall>(calls_.Begin(from, descriptor_->name(), method),
                                               calls_, context);
      call->Start();
      return call.get();
    };
    RawService::Serve<Response>(absl::StrCat("/", descriptor_->full_name(), "/", method), begin);
  }

 private:
  const google::protobuf::ServiceDescriptor* const descriptor_;
  const Calls calls_;
};

}  // namespace softsplice

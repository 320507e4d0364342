// Messages as they came, for calls that begin before their request is read.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/impl/codegen/server_callback_handlers.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <list>
#include <string>

#include "absl/status/status.h"

namespace softsplice {

// Parses a request of which little is expected. RESOURCE_EXHAUSTED (OVER_LIMIT): more than 64 KiB;
// UNIMPLEMENTED (COMPRESSED_REQUEST); INVALID_ARGUMENT (MALFORMED_REQUEST).
absl::Status ParseSmall(const grpc::ByteBuffer& bytes, google::protobuf::Message* request);

// Why `bytes` can't be parsed as a `type`: COMPRESSED_REQUEST or MALFORMED_REQUEST. gRPC is told
// not to inflate anything, for little on the wire can become much, and hands over what came.
absl::Status Unparsable(const grpc::ByteBuffer& bytes, const std::string& type);

// A service whose methods get their calls when the headers have arrived. On the wire any method is
// a stream both ways, whatever the contract calls it.
class RawService : public grpc::Service {
 protected:
  template <class Response>
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, Response>;

  // `path`: "/package.Service/Method".
  template <class Response>
  void Serve(const std::string& path,
             std::function<Reactor<Response>*(grpc::CallbackServerContext*)> begin) {
    paths_.push_back(path);
    AddMethod(new grpc::internal::RpcServiceMethod(
        paths_.back().c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
    MarkMethodCallback(
        static_cast<int>(paths_.size()) - 1,
        new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, Response>(std::move(begin)));
  }

 private:
  std::list<std::string> paths_;  // gRPC keeps pointers to them
};

}  // namespace softsplice

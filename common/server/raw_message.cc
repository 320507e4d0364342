#include "common/server/raw_message.h"

#include <grpcpp/support/proto_buffer_reader.h>

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

constexpr size_t kMaxSmall = 64 << 10;

// The first bytes of gzip and of zlib, gRPC's two compressions. The first is no protobuf message.
bool LooksCompressed(const grpc::ByteBuffer& bytes) {
  grpc::ByteBuffer copy(bytes);  // of references: reading would use up the original
  grpc::ProtoBufferReader reader(&copy);
  const void* data = nullptr;
  int size = 0;
  if (!reader.Next(&data, &size) || size < 2) return false;
  const auto* first = static_cast<const uint8_t*>(data);
  const bool gzip = first[0] == 0x1F && first[1] == 0x8B;
  const bool zlib = (first[0] & 0x0F) == 8 && (first[0] * 256 + first[1]) % 31 == 0;
  return gzip || zlib;
}

}  // namespace

absl::Status ParseSmall(const grpc::ByteBuffer& bytes, google::protobuf::Message* request) {
  if (bytes.Length() > kMaxSmall) {
    return OverLimit(
        "", absl::StrCat("the message has ", bytes.Length(), " bytes; ", kMaxSmall, " are taken"));
  }
  grpc::ByteBuffer copy(bytes);
  grpc::ProtoBufferReader reader(&copy);
  if (request->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return Unparsable(bytes, request->GetTypeName());
}

absl::Status Unparsable(const grpc::ByteBuffer& bytes, const std::string& type) {
  if (LooksCompressed(bytes)) {
    return MakeError(absl::StatusCode::kUnimplemented,
                     "the message is compressed; this service takes messages as they are",
                     {.reason = reason::kCompressedRequest});
  }
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("the message is no ", type, ", or has text that is not UTF-8"),
                   {.reason = reason::kMalformedRequest});
}

}  // namespace softsplice

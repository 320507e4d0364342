// Requests from the bytes that came, without surprises in memory.
#pragma once

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"
#include "common/server/border.h"

namespace softsplice {

// Values that one request may hold, counted over all its messages: a picture is one, a token id a
// quarter.
inline constexpr uint64_t kMaxRequestValues = 1 << 20;

// Parses `bytes` into `request`, and empties them. What both occupy is taken into `lease` before it
// is allocated, for bytes that say little can become much; what `request` occupies stays there.
// INVALID_ARGUMENT (MALFORMED_REQUEST): no such message, or text that is no UTF-8.
// RESOURCE_EXHAUSTED: too many values (OVER_LIMIT), or the budget is used up (SERVER_BUSY).
absl::Status ParseRequest(grpc::ByteBuffer* bytes, google::protobuf::Message* request,
                          Border::Lease* lease);

}  // namespace softsplice

#include "common/server/message.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include "absl/strings/str_cat.h"
#include "common/server/raw_message.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::CodedInputStream;

// What a value takes besides its bytes: an empty message, or the head of a string, and its place in
// a list or a map.
constexpr uint64_t kBytesPerValue = 160;
constexpr int kMaxDepth = 100;  // protobuf's own

// Counts the values of an encoded message, and of those in it, without making any of them.
class Counter {
 public:
  explicit Counter(CodedInputStream* in) : in_(*in) {}

  uint64_t values() const { return quarters_ / 4; }
  // False: not to be understood, or too many to go on.
  bool Count(const Descriptor& type, int depth = 0) {
    while (const uint32_t tag = in_.ReadTag()) {
      quarters_ += 4;
      if (values() > kMaxRequestValues || !CountValue(type, tag, depth)) return false;
    }
    return in_.ConsumedEntireMessage();
  }

 private:
  bool CountValue(const Descriptor& type, uint32_t tag, int depth) {
    uint64_t number = 0;
    switch (tag & 7) {
      case 0:
        return in_.ReadVarint64(&number);
      case 1:
        return in_.Skip(8);
      case 2:
        return CountBytes(type.FindFieldByNumber(static_cast<int>(tag >> 3)), depth);
      case 5:
        return in_.Skip(4);
      default:
        return false;
    }
  }

  bool CountBytes(const FieldDescriptor* field, int depth) {
    int size = 0;
    if (!in_.ReadVarintSizeAsInt(&size)) return false;
    if (field != nullptr && field->message_type() != nullptr) {
      if (depth == kMaxDepth) return false;
      const CodedInputStream::Limit outer = in_.PushLimit(size);
      // A length over the outer message's end is cut to it: then bytes are missing.
      const bool whole = in_.BytesUntilLimit() == size && Count(*field->message_type(), depth + 1);
      in_.PopLimit(outer);
      return whole;
    }
    if (field != nullptr && field->is_packable()) quarters_ += static_cast<uint64_t>(size);
    return in_.Skip(size);
  }

  CodedInputStream& in_;
  uint64_t quarters_ = 0;
};

}  // namespace

absl::Status ParseRequest(grpc::ByteBuffer* bytes, google::protobuf::Message* request,
                          Border::Lease* lease) {
  const uint64_t size = bytes->Length();
  RETURN_IF_ERROR(lease->Grow(size));
  uint64_t values = 0;
  {
    grpc::ProtoBufferReader reader(bytes);
    CodedInputStream in(&reader);
    Counter counter(&in);
    const bool understood = counter.Count(*request->GetDescriptor());
    values = counter.values();
    if (values > kMaxRequestValues) {
      return OverLimit("", absl::StrCat("the request has more than ", kMaxRequestValues,
                                        " values in all its fields"));
    }
    if (!understood) return Unparsable(*bytes, request->GetTypeName());
  }
  RETURN_IF_ERROR(lease->Grow(size + values * kBytesPerValue));
  grpc::ProtoBufferReader reader(bytes);
  if (!request->ParseFromZeroCopyStream(&reader)) return Unparsable(*bytes, request->GetTypeName());
  bytes->Clear();
  lease->Shrink(size);
  return absl::OkStatus();
}

}  // namespace softsplice

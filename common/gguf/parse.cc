#include "common/gguf/parse.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/gguf/cursor.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice::gguf {
namespace {

constexpr size_t kMaxKeyBytes = 65535;
constexpr size_t kMaxNameBytes = 64;
constexpr size_t kMaxStringBytes = size_t{64} << 20;
constexpr uint64_t kMaxArray = uint64_t{1} << 24;
constexpr uint32_t kMaxDims = 4;
constexpr int64_t kMaxDim = std::numeric_limits<int32_t>::max();
// At least 8: numbers in tensors are read through typed pointers.
constexpr int64_t kMinAlignment = 8;
constexpr int64_t kMaxAlignment = int64_t{1} << 20;

// The numbers of GGUF's value types.
enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

std::string Printable(absl::string_view text) { return absl::Utf8SafeCEscape(text.substr(0, 128)); }

absl::Status CheckHeader(Cursor& in) {
  ASSIGN_OR_RETURN(const uint32_t magic, in.Read<uint32_t>("the magic number"));
  if (magic != 0x46554747u) {
    const char* bytes = reinterpret_cast<const char*>(&magic);
    return InvalidFile(
        in.path(), absl::StrCat("not a GGUF file: it starts with \"",
                                absl::CHexEscape(absl::string_view(bytes, 4)), "\", not \"GGUF\""));
  }
  ASSIGN_OR_RETURN(const uint32_t version, in.Read<uint32_t>("the version"));
  if (version == 3) return absl::OkStatus();
  if ((version & 0xffff) == 0 && version != 0) {
    return InvalidFile(in.path(), "a big-endian GGUF file; only little-endian ones are supported");
  }
  return InvalidFile(in.path(), absl::StrCat("GGUF version ", version, "; only 3 is supported"));
}

template <class T>
absl::StatusOr<Value> ReadScalar(Cursor& in, absl::string_view what) {
  ASSIGN_OR_RETURN(const T value, in.Read<T>(what));
  if constexpr (std::is_floating_point_v<T>)
    return Value(static_cast<double>(value));
  else if constexpr (std::is_signed_v<T>)
    return Value(static_cast<int64_t>(value));
  else
    return Value(static_cast<uint64_t>(value));
}

absl::StatusOr<bool> CheckBool(const Cursor& in, uint8_t byte, absl::string_view what) {
  if (byte <= 1) return byte == 1;
  return InvalidFile(in.path(), absl::StrCat(what, " is a bool with value ", byte));
}

template <class T>
absl::StatusOr<Value> ReadNumbers(Cursor& in, uint64_t count, absl::string_view what) {
  using Wide = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
  ASSIGN_OR_RETURN(const auto bytes, in.TakeItems(count, sizeof(T), what));
  std::vector<Wide> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return InvalidFile(in.path(), absl::StrCat(what, "[", i, "] is ", value,
                                                   ", the limit in arrays is 2^63 - 1"));
      }
    }
    values[i] = static_cast<Wide>(value);
  }
  return Value(std::move(values));
}

absl::StatusOr<Value> ReadBools(Cursor& in, uint64_t count, absl::string_view what) {
  ASSIGN_OR_RETURN(const auto bytes, in.TakeItems(count, 1, what));
  std::vector<bool> values(bytes.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ASSIGN_OR_RETURN(values[i], CheckBool(in, bytes[i], what));
  }
  return Value(std::move(values));
}

absl::StatusOr<Value> ReadStrings(Cursor& in, uint64_t count, absl::string_view what) {
  RETURN_IF_ERROR(in.CheckCount(count, sizeof(uint64_t), what));
  Strings values;
  values.reserve(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const absl::string_view text, in.ReadString(kMaxStringBytes, what));
    values.emplace_back(text);
  }
  return Value(std::move(values));
}

absl::StatusOr<Value> ReadArray(Cursor& in, absl::string_view what) {
  ASSIGN_OR_RETURN(const uint32_t type, in.Read<uint32_t>(what));
  ASSIGN_OR_RETURN(const uint64_t count, in.Read<uint64_t>(what));
  if (count > kMaxArray) {
    return InvalidFile(in.path(), absl::StrCat(what, " has a count of ", count,
                                               ", the limit for arrays is ", kMaxArray));
  }
  switch (type) {
    case kUint8:
      return ReadNumbers<uint8_t>(in, count, what);
    case kInt8:
      return ReadNumbers<int8_t>(in, count, what);
    case kUint16:
      return ReadNumbers<uint16_t>(in, count, what);
    case kInt16:
      return ReadNumbers<int16_t>(in, count, what);
    case kUint32:
      return ReadNumbers<uint32_t>(in, count, what);
    case kInt32:
      return ReadNumbers<int32_t>(in, count, what);
    case kFloat32:
      return ReadNumbers<float>(in, count, what);
    case kBool:
      return ReadBools(in, count, what);
    case kString:
      return ReadStrings(in, count, what);
    case kUint64:
      return ReadNumbers<uint64_t>(in, count, what);
    case kInt64:
      return ReadNumbers<int64_t>(in, count, what);
    case kFloat64:
      return ReadNumbers<double>(in, count, what);
    case kArray:
      return InvalidFile(in.path(), absl::StrCat(what, " is an array of arrays: not supported"));
    default:
      return InvalidFile(in.path(), absl::StrCat(what, " is an array of value type ", type,
                                                 ", which GGUF v3 does not have"));
  }
}

absl::StatusOr<Value> ReadValue(Cursor& in, uint32_t type, absl::string_view what) {
  switch (type) {
    case kUint8:
      return ReadScalar<uint8_t>(in, what);
    case kInt8:
      return ReadScalar<int8_t>(in, what);
    case kUint16:
      return ReadScalar<uint16_t>(in, what);
    case kInt16:
      return ReadScalar<int16_t>(in, what);
    case kUint32:
      return ReadScalar<uint32_t>(in, what);
    case kInt32:
      return ReadScalar<int32_t>(in, what);
    case kFloat32:
      return ReadScalar<float>(in, what);
    case kUint64:
      return ReadScalar<uint64_t>(in, what);
    case kInt64:
      return ReadScalar<int64_t>(in, what);
    case kFloat64:
      return ReadScalar<double>(in, what);
    case kArray:
      return ReadArray(in, what);
    case kBool: {
      ASSIGN_OR_RETURN(const uint8_t byte, in.Read<uint8_t>(what));
      ASSIGN_OR_RETURN(const bool value, CheckBool(in, byte, what));
      return Value(value);
    }
    case kString: {
      ASSIGN_OR_RETURN(const absl::string_view text, in.ReadString(kMaxStringBytes, what));
      return Value(std::string(text));
    }
    default:
      return InvalidFile(
          in.path(), absl::StrCat(what, " has value type ", type, ", which GGUF v3 does not have"));
  }
}

absl::StatusOr<Metadata> ReadMetadata(Cursor& in, uint64_t count) {
  // A pair takes at least its key's length, its type and one byte of value.
  RETURN_IF_ERROR(in.CheckCount(count, 13, "the metadata"));
  Metadata metadata;
  metadata.reserve(static_cast<size_t>(std::min<uint64_t>(count, 1024)));
  absl::flat_hash_set<absl::string_view> keys;
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(const absl::string_view key, in.ReadString(kMaxKeyBytes, "a metadata key"));
    const std::string what = absl::StrCat("metadata \"", Printable(key), "\"");
    if (!keys.insert(key).second)
      return InvalidFile(in.path(), absl::StrCat(what, " occurs twice"));
    ASSIGN_OR_RETURN(const uint32_t type, in.Read<uint32_t>(what));
    ASSIGN_OR_RETURN(Value value, ReadValue(in, type, what));
    metadata.emplace_back(std::string(key), std::move(value));
  }
  return metadata;
}

absl::StatusOr<int64_t> Alignment(absl::string_view path, const Metadata& metadata) {
  for (const auto& [key, value] : metadata) {
    if (key != "general.alignment") continue;
    const auto* alignment = std::get_if<uint64_t>(&value);
    if (alignment == nullptr) return InvalidFile(path, "general.alignment is not unsigned");
    if (!std::has_single_bit(*alignment) || *alignment < kMinAlignment ||
        *alignment > kMaxAlignment) {
      return InvalidFile(
          path, absl::StrCat("general.alignment is ", *alignment, ", not a power of two between ",
                             kMinAlignment, " and ", kMaxAlignment));
    }
    return static_cast<int64_t>(*alignment);
  }
  return 32;
}

// A row of the tensor table: a tensor without its bytes, and where those are, counted from the
// start of the data section.
struct Entry {
  Tensor tensor;
  uint64_t offset = 0;
};

absl::Status ReadShape(Cursor& in, absl::string_view what, Tensor& tensor) {
  ASSIGN_OR_RETURN(const uint32_t dims, in.Read<uint32_t>(what));
  if (dims < 1 || dims > kMaxDims) {
    return InvalidFile(in.path(),
                       absl::StrCat(what, " has ", dims, " dimensions, not 1 to ", kMaxDims));
  }
  int64_t elements = 1;
  for (uint32_t i = 0; i < dims; ++i) {
    ASSIGN_OR_RETURN(const uint64_t dim, in.Read<uint64_t>(what));
    if (dim < 1 || dim > static_cast<uint64_t>(kMaxDim)) {
      return InvalidFile(in.path(),
                         absl::StrCat(what, " has a dimension of ", dim, ", not 1 to ", kMaxDim));
    }
    tensor.dims.push_back(static_cast<int64_t>(dim));
    if (__builtin_mul_overflow(elements, tensor.dims.back(), &elements)) {
      return InvalidFile(in.path(),
                         absl::StrCat(what, " has the shape [", absl::StrJoin(tensor.dims, ", "),
                                      "...], more than 2^63 - 1 numbers"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadType(Cursor& in, absl::string_view what, Tensor& tensor) {
  ASSIGN_OR_RETURN(const uint32_t number, in.Read<uint32_t>(what));
  const TypeInfo* info = FindType(number);
  if (info == nullptr) {
    return InvalidFile(
        in.path(), absl::StrCat(what, " has ggml's type number ", number, ", which is not known"));
  }
  tensor.type = info->type;
  if (tensor.Cols() % info->block_elements != 0) {
    return InvalidFile(
        in.path(), absl::StrCat(what, " has rows of ", tensor.Cols(), " numbers, but ", info->name,
                                " needs multiples of ", info->block_elements));
  }
  int64_t bytes = 0;
  if (__builtin_mul_overflow(tensor.Elements() / info->block_elements, int64_t{info->block_bytes},
                             &bytes)) {
    return InvalidFile(in.path(), absl::StrCat(what, " has ", tensor.Elements(),
                                               " numbers: more than 2^63 - 1 bytes"));
  }
  tensor.bytes = static_cast<size_t>(bytes);
  return absl::OkStatus();
}

absl::StatusOr<Entry> ReadEntry(Cursor& in, int64_t alignment) {
  Entry entry;
  ASSIGN_OR_RETURN(const absl::string_view name, in.ReadString(kMaxNameBytes, "a tensor's name"));
  entry.tensor.name = std::string(name);
  const std::string what = absl::StrCat("tensor \"", Printable(name), "\"");
  RETURN_IF_ERROR(ReadShape(in, what, entry.tensor));
  RETURN_IF_ERROR(ReadType(in, what, entry.tensor));
  ASSIGN_OR_RETURN(entry.offset, in.Read<uint64_t>(what));
  if (entry.offset % static_cast<uint64_t>(alignment) != 0) {
    return InvalidFile(in.path(), absl::StrCat(what, " starts at offset ", entry.offset,
                                               ", not a multiple of the alignment ", alignment));
  }
  return entry;
}

absl::StatusOr<std::vector<Entry>> ReadTable(Cursor& in, uint64_t count, int64_t alignment) {
  // An entry takes at least its name's length, one dimension, a type and an offset.
  RETURN_IF_ERROR(in.CheckCount(count, 32, "the tensor table"));
  std::vector<Entry> table;
  absl::flat_hash_set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    ASSIGN_OR_RETURN(Entry entry, ReadEntry(in, alignment));
    if (!names.insert(entry.tensor.name).second) {
      return InvalidFile(
          in.path(), absl::StrCat("tensor \"", Printable(entry.tensor.name), "\" occurs twice"));
    }
    table.push_back(std::move(entry));
  }
  return table;
}

// Points the tensors at their bytes: inside the file and without overlap.
absl::Status PlaceTensors(absl::string_view path, absl::Span<const uint8_t> file, uint64_t start,
                          std::vector<Entry>& table) {
  std::vector<Entry*> by_offset;
  for (Entry& entry : table) {
    const uint64_t room = file.size() > start ? file.size() - start : 0;
    if (entry.offset > room || entry.tensor.bytes > room - entry.offset) {
      return InvalidFile(
          path,
          absl::StrCat("tensor \"", Printable(entry.tensor.name), "\" has ", entry.tensor.bytes,
                       " bytes at offset ", entry.offset, " of the data, but the file has only ",
                       room, " bytes of data: it is truncated (", file.size(), " bytes in all)"));
    }
    entry.tensor.data = file.data() + start + entry.offset;
    by_offset.push_back(&entry);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const Entry* a, const Entry* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const Entry& before = *by_offset[i - 1];
    if (by_offset[i]->offset - before.offset < before.tensor.bytes) {
      return InvalidFile(path,
                         absl::StrCat("tensors \"", Printable(before.tensor.name), "\" and \"",
                                      Printable(by_offset[i]->tensor.name), "\" overlap"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t Tensor::Elements() const {
  int64_t elements = 1;
  for (const int64_t dim : dims) elements *= dim;
  return elements;
}

absl::StatusOr<Contents> Parse(absl::string_view path, absl::Span<const uint8_t> file) {
  Cursor in(path, file);
  RETURN_IF_ERROR(CheckHeader(in));
  ASSIGN_OR_RETURN(const uint64_t tensors, in.Read<uint64_t>("the tensor count"));
  ASSIGN_OR_RETURN(const uint64_t pairs, in.Read<uint64_t>("the metadata count"));
  Contents contents;
  ASSIGN_OR_RETURN(contents.metadata, ReadMetadata(in, pairs));
  ASSIGN_OR_RETURN(contents.alignment, Alignment(path, contents.metadata));
  ASSIGN_OR_RETURN(std::vector<Entry> table, ReadTable(in, tensors, contents.alignment));
  const auto alignment = static_cast<uint64_t>(contents.alignment);
  const uint64_t start = (in.offset() + alignment - 1) / alignment * alignment;
  RETURN_IF_ERROR(PlaceTensors(path, file, start, table));
  contents.tensors.reserve(table.size());
  for (Entry& entry : table) contents.tensors.push_back(std::move(entry.tensor));
  return contents;
}

}  // namespace softsplice::gguf

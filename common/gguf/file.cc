#include "common/gguf/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"

namespace softsplice::gguf {
namespace {

absl::Status OpenError(const std::string& path, int error) {
  const auto code = error == EACCES || error == EPERM ? absl::StatusCode::kPermissionDenied
                                                      : absl::StatusCode::kNotFound;
  return MakeError(code, absl::StrCat(path, ": can't be read: ", std::strerror(error)),
                   {.reason = reason::kFileUnreadable});
}

const char* KindName(const Value& value) {
  constexpr const char* kNames[] = {"an integer",
                                    "an integer",
                                    "a number",
                                    "a bool",
                                    "a string",
                                    "an array of integers",
                                    "an array of numbers",
                                    "an array of bools",
                                    "an array of strings"};
  static_assert(std::size(kNames) == std::variant_size_v<Value>);
  return kNames[value.index()];
}

absl::Status WrongKind(const std::string& path, absl::string_view key, const char* expected,
                       const Value& found) {
  return InvalidFile(
      path, absl::StrCat("metadata \"", key, "\" is ", KindName(found), ", expected ", expected));
}

absl::Status CheckShape(const std::string& path, const Tensor& tensor,
                        std::initializer_list<int64_t> dims) {
  bool equal = true;
  for (size_t i = 0; i < std::max(dims.size(), tensor.dims.size()); ++i) {
    const int64_t want = i < dims.size() ? dims.begin()[i] : 1;
    const int64_t have = i < tensor.dims.size() ? tensor.dims[i] : 1;
    equal = equal && (want == -1 || want == have);
  }
  if (equal) return absl::OkStatus();
  const auto print = [](std::string* out, int64_t dim) {
    absl::StrAppend(out, dim == -1 ? "any" : absl::StrCat(dim));
  };
  return InvalidFile(path, absl::StrCat("tensor \"", tensor.name, "\" has shape [",
                                        absl::StrJoin(tensor.dims, ", "), "], expected [",
                                        absl::StrJoin(dims, ", ", print), "]"));
}

// The value of an integer key of `metadata`, -1 if it is missing or no integer that fits.
int64_t IntOr(const Metadata& metadata, absl::string_view key) {
  for (const auto& [name, value] : metadata) {
    if (name != key) continue;
    if (const auto* v = std::get_if<int64_t>(&value)) return *v;
    if (const auto* v = std::get_if<uint64_t>(&value)) {
      return *v <= std::numeric_limits<int32_t>::max() ? static_cast<int64_t>(*v) : -1;
    }
  }
  return -1;
}

}  // namespace

// One part, mapped as a whole; the file stays open, so that changes of it are seen.
struct File::Mapping {
  std::string path;
  int fd = -1;
  struct stat info = {};  // as it was when it was opened
  const uint8_t* data = nullptr;

  explicit Mapping(std::string name) : path(std::move(name)) {}
  ~Mapping() {
    if (data != nullptr) munmap(const_cast<uint8_t*>(data), bytes());
    if (fd >= 0) close(fd);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  size_t bytes() const { return static_cast<size_t>(info.st_size); }
  absl::Status Open();
  absl::Status CheckUnchanged() const;
};

absl::Status File::Mapping::Open() {
  // Non-blocking: a named pipe must not hang the open.
  fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || fstat(fd, &info) != 0) return OpenError(path, errno);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(absl::StatusCode::kNotFound,
                     absl::StrCat(path, S_ISDIR(info.st_mode) ? ": is a directory, not a file"
                                                              : ": is not a regular file"),
                     {.reason = reason::kFileUnreadable});
  }
  if (bytes() == 0) return absl::OkStatus();  // and no data
  void* mapped = mmap(nullptr, bytes(), PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapped == MAP_FAILED) return OpenError(path, errno);
  data = static_cast<const uint8_t*>(mapped);
  return absl::OkStatus();
}

absl::Status File::Mapping::CheckUnchanged() const {
  struct stat now = {};
  if (fstat(fd, &now) == 0 && now.st_size == info.st_size &&
      now.st_mtim.tv_sec == info.st_mtim.tv_sec && now.st_mtim.tv_nsec == info.st_mtim.tv_nsec) {
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat(path,
                                ": was changed while it was in use; put a new model beside the old "
                                "one and rename it, and start again"),
                   {.reason = reason::kFileChanged});
}

File::File() = default;
File::~File() = default;

absl::Status File::CheckUnchanged() const {
  for (const auto& mapping : mappings_) RETURN_IF_ERROR(mapping->CheckUnchanged());
  return absl::OkStatus();
}

// From the name "PREFIX-00002-of-00003.gguf"; any other name is a file of one part.
struct File::Split {
  std::string prefix;
  int part = 1;
  int count = 1;
  bool named = false;  // the name has the pattern

  static Split FromName(const std::string& path);
  std::string PartPath(int i) const {
    return absl::StrFormat("%s-%05d-of-%05d.gguf", prefix, i, count);
  }
};

File::Split File::Split::FromName(const std::string& path) {
  constexpr size_t kTail = sizeof("-00001-of-00002.gguf") - 1;
  Split split;
  if (path.size() <= kTail) return split;
  const absl::string_view tail = absl::string_view(path).substr(path.size() - kTail);
  const auto number = [tail](size_t at, int* out) {
    const absl::string_view digits = tail.substr(at, 5);
    return std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit) &&
           absl::SimpleAtoi(digits, out);
  };
  int part = 0;
  int count = 0;
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || tail.substr(15) != ".gguf" ||
      !number(1, &part) || !number(10, &count) || part < 1 || part > count) {
    return split;
  }
  return {path.substr(0, path.size() - kTail), part, count, true};
}

absl::StatusOr<std::unique_ptr<File>> File::Open(const std::string& path) {
  std::unique_ptr<File> file(new File);
  file->path_ = path;
  const Split split = Split::FromName(path);
  if (!split.named) {
    RETURN_IF_ERROR(file->ReadPart(path, split, 1));
  } else {
    for (int part = 1; part <= split.count; ++part) {
      RETURN_IF_ERROR(file->ReadPart(split.PartPath(part), split, part));
    }
  }
  const int64_t total = IntOr(file->metadata_, "split.tensors.count");
  if (split.count > 1 && total != static_cast<int64_t>(file->tensors_.size())) {
    return InvalidFile(path,
                       absl::StrCat("split.tensors.count is ", total, ", but the ", split.count,
                                    " parts have ", file->tensors_.size(), " tensors"));
  }
  return file;
}

absl::Status File::ReadPart(const std::string& path, const Split& split, int part) {
  const Mapping& mapping = *mappings_.emplace_back(std::make_unique<Mapping>(path));
  RETURN_IF_ERROR(mappings_.back()->Open());
  file_bytes_ += mapping.bytes();
  ASSIGN_OR_RETURN(Contents contents, Parse(path, {mapping.data, mapping.bytes()}));

  const int64_t count = IntOr(contents.metadata, "split.count");
  if (split.count > 1 && count != split.count) {
    return InvalidFile(path,
                       absl::StrCat("the name says ", split.count, " parts, split.count says ",
                                    count < 0 ? "nothing" : absl::StrCat(count)));
  }
  if (split.count > 1 && IntOr(contents.metadata, "split.no") != part - 1) {
    return InvalidFile(path,
                       absl::StrCat("the name says part ", part, ", split.no is ",
                                    IntOr(contents.metadata, "split.no"), ", not ", part - 1));
  }
  if (split.count == 1 && count > 1) {
    return InvalidFile(path, absl::StrCat("is one of ", count,
                                          " parts of a split file, but is not named so: keep the "
                                          "names ...-00001-of-",
                                          absl::StrFormat("%05d", count), ".gguf"));
  }
  for (Tensor& tensor : contents.tensors) {
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
      return InvalidFile(path, absl::StrCat("tensor \"", absl::Utf8SafeCEscape(tensor.name),
                                            "\" is also in an earlier part"));
    }
    tensors_.push_back(std::move(tensor));
  }
  if (part == 1) {
    metadata_ = std::move(contents.metadata);
    alignment_ = contents.alignment;
    for (size_t i = 0; i < metadata_.size(); ++i) metadata_index_.emplace(metadata_[i].first, i);
  }
  return absl::OkStatus();
}

bool File::Has(absl::string_view key) const { return metadata_index_.contains(key); }

bool File::IsArray(absl::string_view key) const {
  const auto it = metadata_index_.find(key);
  if (it == metadata_index_.end()) return false;
  const Value& value = metadata_[it->second].second;
  return std::holds_alternative<std::vector<int64_t>>(value) ||
         std::holds_alternative<std::vector<double>>(value) ||
         std::holds_alternative<std::vector<bool>>(value) || std::holds_alternative<Strings>(value);
}

absl::StatusOr<const Value*> File::Get(absl::string_view key) const {
  const auto it = metadata_index_.find(key);
  if (it != metadata_index_.end()) return &metadata_[it->second].second;
  return InvalidFile(path_, absl::StrCat("metadata \"", key, "\" is missing"));
}

absl::StatusOr<int64_t> File::Int(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key));
  if (const auto* v = std::get_if<int64_t>(value)) return *v;
  const auto* v = std::get_if<uint64_t>(value);
  if (v == nullptr) return WrongKind(path_, key, "an integer", *value);
  if (*v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return InvalidFile(path_,
                       absl::StrCat("metadata \"", key, "\" is ", *v, ", the limit is 2^63 - 1"));
  }
  return static_cast<int64_t>(*v);
}

absl::StatusOr<double> File::Float(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key));
  if (const auto* v = std::get_if<double>(value)) return *v;
  if (const auto* v = std::get_if<int64_t>(value)) return static_cast<double>(*v);
  if (const auto* v = std::get_if<uint64_t>(value)) return static_cast<double>(*v);
  return WrongKind(path_, key, "a number", *value);
}

absl::StatusOr<bool> File::Bool(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key));
  if (const auto* v = std::get_if<bool>(value)) return *v;
  return WrongKind(path_, key, "a bool", *value);
}

absl::StatusOr<std::string> File::String(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key));
  if (const auto* v = std::get_if<std::string>(value)) return *v;
  return WrongKind(path_, key, "a string", *value);
}

absl::StatusOr<std::vector<int64_t>> File::Ints(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key));
  if (const auto* v = std::get_if<std::vector<int64_t>>(value)) return *v;
  if (const auto* v = std::get_if<std::vector<bool>>(value)) {
    return std::vector<int64_t>(v->begin(), v->end());
  }
  return WrongKind(path_, key, "an array of integers", *value);
}

absl::StatusOr<const Strings*> File::StringList(absl::string_view key) const {
  ASSIGN_OR_RETURN(const Value* value, Get(key));
  if (const auto* v = std::get_if<Strings>(value)) return v;
  return WrongKind(path_, key, "an array of strings", *value);
}

absl::StatusOr<const Tensor*> File::Find(absl::string_view name,
                                         std::initializer_list<int64_t> dims) const {
  const Tensor* tensor = FindOptional(name);
  if (tensor == nullptr) {
    return InvalidFile(path_, absl::StrCat("tensor \"", name, "\" is missing"));
  }
  RETURN_IF_ERROR(CheckShape(path_, *tensor, dims));
  if (!IsRead(tensor->type)) {
    const auto add = [](std::string* out, const TypeInfo& t) { absl::StrAppend(out, t.name); };
    return InvalidFile(path_, absl::StrCat("tensor \"", name, "\" is ", Info(tensor->type).name,
                                           ", which is not supported; supported are ",
                                           absl::StrJoin(AllTypes(), " ", add)));
  }
  return tensor;
}

absl::StatusOr<const float*> File::FindF32(absl::string_view name,
                                           std::initializer_list<int64_t> dims) const {
  ASSIGN_OR_RETURN(const Tensor* tensor, Find(name, dims));
  if (tensor->type != Type::kF32) {
    return InvalidFile(path_, absl::StrCat("tensor \"", name, "\" is ", Info(tensor->type).name,
                                           ", expected F32"));
  }
  return reinterpret_cast<const float*>(tensor->data);
}

const Tensor* File::FindOptional(absl::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

void File::DropPages(const Tensor& tensor) const {
  // Whole pages: a neighbour's bytes on a shared page are just read from the file again.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(tensor.data) + tensor.bytes;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace softsplice::gguf

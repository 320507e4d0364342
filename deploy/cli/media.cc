#include "deploy/cli/media.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status/macros.h"

namespace softsplice {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, " is a folder"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno, absl::StrCat("can't read ", path));
  std::string data{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return absl::ErrnoToStatus(errno, absl::StrCat("can't read ", path));
  return data;
}

absl::Status WriteFile(const std::string& path, absl::string_view data) {
  const std::string draft = absl::StrCat(path, ".part");
  std::ofstream file(draft, std::ios::binary | std::ios::trunc);
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  file.close();
  if (file && std::rename(draft.c_str(), path.c_str()) == 0) return absl::OkStatus();
  const absl::Status status = absl::ErrnoToStatus(errno, absl::StrCat("can't write ", path));
  std::remove(draft.c_str());
  return status;
}

absl::StatusOr<v1::Part> PicturePart(const std::string& path, uint32_t budget) {
  v1::Part part;
  ASSIGN_OR_RETURN(*part.mutable_media()->mutable_data(), ReadFile(path));
  part.mutable_media()->set_max_soft_tokens(budget);
  return part;
}

absl::StatusOr<v1::Part> SoftTokensPart(const std::string& path) {
  v1::Part part;
  ASSIGN_OR_RETURN(const std::string data, ReadFile(path));
  if (!part.mutable_soft_tokens()->ParseFromString(data) ||
      part.soft_tokens().header().rows() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " holds no soft tokens; `softsplice encode` makes such files"));
  }
  return part;
}

}  // namespace softsplice

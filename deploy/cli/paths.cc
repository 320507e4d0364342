#include "deploy/cli/paths.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace softsplice {
namespace {

std::string WithHome(absl::string_view path) {
  const char* home = getenv("HOME");
  if (home == nullptr || !absl::ConsumePrefix(&path, "~/")) return std::string(path);
  return absl::StrCat(home, "/", path);
}

std::string WithoutBackslashes(absl::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain += text[i];
  }
  return plain;
}

// The names in the folder of `path` that begin with what follows it.
std::vector<std::string> NamesLike(absl::string_view path, size_t folder_size) {
  const std::string folder = WithHome(path.substr(0, folder_size));
  const absl::string_view begin = path.substr(folder_size);
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder.empty() ? "." : folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (!absl::StartsWith(name, begin) || (begin.empty() && absl::StartsWith(name, "."))) continue;
    std::error_code gone;
    if (entry->is_directory(gone)) name += '/';
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::string_view CommonStart(const std::vector<std::string>& sorted) {
  const std::string& first = sorted.front();
  const std::string& last = sorted.back();
  const size_t most = std::min(first.size(), last.size());
  size_t same = 0;
  while (same < most && first[same] == last[same]) ++same;
  // Not within a character.
  while (same < first.size() && (first[same] & 0xc0) == 0x80) --same;
  return absl::string_view(first).substr(0, same);
}

}  // namespace

std::string TypedPath(absl::string_view typed) {
  typed = absl::StripAsciiWhitespace(typed);
  std::error_code error;
  if (std::filesystem::exists(std::string(typed), error)) return std::string(typed);
  for (const char* quote : {"'", "\""}) {
    if (typed.size() > 1 && absl::StartsWith(typed, quote) && absl::EndsWith(typed, quote)) {
      return WithHome(typed.substr(1, typed.size() - 2));
    }
  }
  std::string path = WithHome(typed);
  if (std::filesystem::exists(path, error)) return path;
  return WithHome(WithoutBackslashes(typed));
}

Completion CompletePath(absl::string_view typed) {
  absl::string_view unquoted = typed;
  if (!absl::ConsumePrefix(&unquoted, "'")) absl::ConsumePrefix(&unquoted, "\"");
  for (const std::string& path : {std::string(unquoted), WithoutBackslashes(unquoted)}) {
    const size_t slash = path.rfind('/');
    const size_t folder_size = slash == std::string::npos ? 0 : slash + 1;
    std::vector<std::string> names = NamesLike(path, folder_size);
    if (names.empty()) continue;
    Completion completion;
    completion.text = absl::StrCat(path.substr(0, folder_size), CommonStart(names));
    if (names.size() > 1 && completion.text == path) completion.choices = std::move(names);
    return completion;
  }
  return {.text = std::string(typed)};
}

}  // namespace softsplice

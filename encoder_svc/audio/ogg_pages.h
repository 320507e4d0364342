// An OGG's pages, looked through before its codec gets them.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace softsplice {

// What is to be read for the file: `bytes` themselves, or a copy of them in `recounted`.
// INVALID_ARGUMENT: a page of a stream of Vorbis or Opus is missing or damaged; the codecs'
// libraries tell it of pages on the way, but not of those right behind the headers.
//
// Opus counts samples at 48 kHz, whatever its rate. Writers that count at another, or do not count
// at all, leave positions that are smaller than what was played by then: such a stream's pages are
// counted anew, and nothing of its end is cut off.
absl::StatusOr<absl::string_view> ReadOggPages(absl::string_view bytes, std::string& recounted);

}  // namespace softsplice

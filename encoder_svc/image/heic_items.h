// The items of a HEIC file, checked before libheif sees the file.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "encoder_svc/image/header.h"

namespace softsplice {

// libheif follows what a file says of its items without an end (a grid may be one of its own tiles)
// and allocates grids before it looks at their tiles. So files are held to what cameras write:
// pictures are HEVC or grids of these, and no grid has more pixels than are allowed.
// INVALID_ARGUMENT: another structure, corrupt, or truncated. RESOURCE_EXHAUSTED: a grid that is
// too large.
absl::Status CheckHeicItems(absl::string_view bytes, const ImageLimits& limits);

}  // namespace softsplice

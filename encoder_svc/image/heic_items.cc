// See heic_items.h. Boxes are [size 4] [type 4] [content]; some begin with a version and flags.
#include "encoder_svc/image/heic_items.h"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status/macros.h"
#include "encoder_svc/image/structure.h"

namespace softsplice {
namespace {

constexpr ImageFormat kHeic = ImageFormat::kHeic;

// Fields one after the other. Past the end they are 0, and ok() is false from then on.
class Fields {
 public:
  explicit Fields(absl::string_view bytes) : left_(bytes) {}

  uint64_t Number(size_t bytes) {
    uint64_t number = 0;
    for (const char c : Bytes(bytes)) number = number << 8 | static_cast<uint8_t>(c);
    return number;
  }
  absl::string_view Bytes(uint64_t bytes) {
    ok_ = ok_ && bytes <= left_.size();
    if (!ok_) return "";
    const absl::string_view taken = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    return taken;
  }
  bool AtEnd() const { return !ok_ || left_.empty(); }
  bool ok() const { return ok_; }
  absl::string_view left() const { return left_; }

 private:
  absl::string_view left_;
  bool ok_ = true;
};

struct Box {
  absl::string_view type;
  absl::string_view content;
};

Box NextBox(Fields& fields) {
  uint64_t size = fields.Number(4), header = 8;
  Box box{.type = fields.Bytes(4)};
  if (size == 1) {
    size = fields.Number(8);
    header = 16;
  }
  if (size == 0) size = header + fields.left().size();  // to the end
  box.content = fields.Bytes(size < header ? UINT64_MAX : size - header);
  return box;
}

// The one box of this type; empty if there is none. Nothing if there are two, or no boxes at all.
std::optional<absl::string_view> OnlyBox(absl::string_view boxes, absl::string_view type) {
  std::optional<absl::string_view> found;
  for (Fields fields(boxes); !fields.AtEnd();) {
    const Box box = NextBox(fields);
    if (!fields.ok() || (box.type == type && found)) return std::nullopt;
    if (box.type == type) found = box.content;
  }
  return found.value_or("");
}

// All that matters of a file.
struct Items {
  std::map<uint64_t, absl::string_view> types;
  std::map<uint64_t, absl::string_view> grids;  // what is in them
};

bool ReadTypes(absl::string_view iinf, Items& items) {
  Fields fields(iinf);
  const uint64_t version = fields.Number(1);
  fields.Bytes(3 + (version == 0 ? 2 : 4));
  while (!fields.AtEnd()) {
    const Box box = NextBox(fields);
    Fields entry(box.content);
    const uint64_t entry_version = entry.Number(1);
    entry.Bytes(3);
    const uint64_t id = entry.Number(entry_version == 3 ? 4 : 2);
    entry.Bytes(2);
    const absl::string_view type = entry.Bytes(4);
    if (!fields.ok() || !entry.ok() || box.type != "infe" || entry_version < 2) return false;
    if (!items.types.emplace(id, type).second) return false;
  }
  return fields.ok();
}

// Where the grids are, which have to lie in one piece.
bool ReadPlaces(absl::string_view iloc, absl::string_view idat, absl::string_view file,
                Items& items) {
  Fields fields(iloc);
  const uint64_t version = fields.Number(1);
  fields.Bytes(3);
  const uint64_t sizes = fields.Number(2);
  const size_t offset_bytes = sizes >> 12 & 15, length_bytes = sizes >> 8 & 15;
  const size_t base_bytes = sizes >> 4 & 15, index_bytes = version == 0 ? 0 : sizes & 15;
  if (version > 2 || offset_bytes > 8 || length_bytes > 8 || base_bytes > 8) return false;
  const uint64_t count = fields.Number(version < 2 ? 2 : 4);
  for (uint64_t i = 0; i < count && fields.ok(); ++i) {
    const uint64_t id = fields.Number(version < 2 ? 2 : 4);
    const uint64_t method = version == 0 ? 0 : fields.Number(2) & 15;
    fields.Bytes(2);
    const uint64_t base = fields.Number(base_bytes), extents = fields.Number(2);
    uint64_t offset = 0, length = 0;
    for (uint64_t extent = 0; extent < extents && fields.ok(); ++extent) {
      fields.Bytes(index_bytes);
      offset = base + fields.Number(offset_bytes);
      length = fields.Number(length_bytes);
    }
    const auto type = items.types.find(id);
    if (type == items.types.end() || type->second != "grid") continue;
    const absl::string_view in = method == 1 ? idat : file;
    if (extents != 1 || method > 1 || offset > in.size() || length > in.size() - offset)
      return false;
    if (!items.grids.emplace(id, in.substr(offset, length == 0 ? in.npos : length)).second) {
      return false;
    }
  }
  return fields.ok();
}

// Whether whatever a picture is derived from is HEVC.
bool AreOfHevc(absl::string_view iref, const Items& items) {
  if (iref.empty()) return true;
  Fields fields(iref);
  const size_t id_bytes = fields.Number(1) == 0 ? 2 : 4;
  fields.Bytes(3);
  while (!fields.AtEnd()) {
    const Box box = NextBox(fields);
    if (box.type != "dimg") continue;
    Fields ids(box.content);
    ids.Bytes(id_bytes + 2);
    while (!ids.AtEnd()) {
      const auto type = items.types.find(ids.Number(id_bytes));
      if (!ids.ok() || type == items.types.end() || type->second != "hvc1") return false;
    }
  }
  return fields.ok();
}

absl::Status CheckGrids(const Items& items, const ImageLimits& limits) {
  for (const auto& [id, grid] : items.grids) {
    Fields fields(grid);
    fields.Bytes(1);
    const size_t side_bytes = (fields.Number(1) & 1) != 0 ? 4 : 2;
    fields.Bytes(2);  // rows and columns
    const auto width = static_cast<int64_t>(fields.Number(side_bytes));
    const auto height = static_cast<int64_t>(fields.Number(side_bytes));
    if (!fields.ok()) return Corrupt(kHeic, "it has a grid without a size");
    ImageHeader unused;
    RETURN_IF_ERROR(SetSize(unused, width, height, limits));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHeicItems(absl::string_view bytes, const ImageLimits& limits) {
  const std::optional<absl::string_view> meta = OnlyBox(bytes, "meta");
  if (!meta) return Truncated(kHeic);
  if (meta->size() < 4) return Corrupt(kHeic, "it holds no still picture");
  const absl::string_view boxes = meta->substr(4);
  const auto iinf = OnlyBox(boxes, "iinf"), iloc = OnlyBox(boxes, "iloc");
  const auto iref = OnlyBox(boxes, "iref"), idat = OnlyBox(boxes, "idat");
  Items items;
  if (!iinf || !iloc || !iref || !idat || !ReadTypes(*iinf, items) ||
      !ReadPlaces(*iloc, *idat, bytes, items)) {
    return Corrupt(kHeic, "its table of contents is corrupt");
  }
  for (const auto& [id, type] : items.types) {
    if (type == "iovl" || type == "iden") {
      return Corrupt(kHeic, absl::StrCat("pictures of the kind ", type, " are not supported"));
    }
  }
  if (!AreOfHevc(*iref, items)) return Corrupt(kHeic, "it has a grid of something else than HEVC");
  return CheckGrids(items, limits);
}

}  // namespace softsplice

#include "encoder_svc/server/layout.h"

#include <algorithm>
#include <limits>

#include "common/server/duration.h"

namespace softsplice {

void FillLayout(const ImageLayout& layout, v1::ImageLayout* out) {
  out->set_grid_rows(layout.grid_rows);
  out->set_grid_columns(layout.grid_columns);
  out->set_source_width(layout.source_width);
  out->set_source_height(layout.source_height);
  out->set_resized_width(layout.resized_width);
  out->set_resized_height(layout.resized_height);
  out->set_max_soft_tokens(layout.max_soft_tokens);
}

void FillSegments(const std::vector<AudioSegment>& segments,
                  google::protobuf::RepeatedPtrField<v1::AudioSegment>* out) {
  for (const AudioSegment& segment : segments) {
    v1::AudioSegment* to = out->Add();
    to->set_first_row(segment.first_row);
    to->set_rows(segment.rows);
    SetDuration(segment.start, to->mutable_start());
    SetDuration(segment.duration, to->mutable_duration());
  }
}

int ClampToInt(uint32_t value) {
  return static_cast<int>(std::min<uint32_t>(value, std::numeric_limits<int>::max()));
}

}  // namespace softsplice

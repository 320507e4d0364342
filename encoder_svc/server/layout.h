// Parts of headers and requests that several kinds of media have.
#pragma once

#include <cstdint>
#include <vector>

#include "encoder_svc/encoder.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "softsplice/v1/soft_tokens.pb.h"

namespace softsplice {

void FillLayout(const ImageLayout& layout, v1::ImageLayout* out);
void FillSegments(const std::vector<AudioSegment>& segments,
                  google::protobuf::RepeatedPtrField<v1::AudioSegment>* out);

// What is too much for an int is refused by its limit all the same.
int ClampToInt(uint32_t value);

}  // namespace softsplice

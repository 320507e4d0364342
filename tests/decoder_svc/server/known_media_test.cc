#include "decoder_svc/server/known_media.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <string>

#include "absl/strings/str_format.h"

namespace softsplice {
namespace {

std::string Key(int number) { return absl::StrFormat("%032d", number); }

EncodedMedium Picture() {
  EncodedMedium medium{.name = std::string(32, 'n')};
  medium.header.set_modality(v1::MODALITY_IMAGE);
  medium.header.set_encoder_fingerprint(std::string(32, 'f'));
  medium.header.set_content_digest(std::string(32, 'd'));
  medium.header.mutable_image()->set_grid_rows(16);
  return medium;
}

EncodedMedium Sound(int segments) {
  EncodedMedium medium = Picture();
  for (int i = 0; i < segments; ++i) {
    v1::AudioSegment* segment = medium.header.mutable_audio()->add_segments();
    segment->mutable_start()->set_seconds(i);
    segment->mutable_duration()->set_seconds(30);
  }
  return medium;
}

// However many come, and however long their layouts are.
TEST(KnownMedia, KeepToTheirBytes) {
  const size_t before = mallinfo2().uordblks;
  KnownMedia known;
  for (int i = 0; i < 200'000; ++i) known.Put(Key(i), Picture());
  EXPECT_LT(mallinfo2().uordblks - before, KnownMedia::kMaxBytes);
  for (int i = 200'000; i < 230'000; ++i) known.Put(Key(i), Sound(20));
  EXPECT_LT(mallinfo2().uordblks - before, KnownMedia::kMaxBytes);
  EXPECT_TRUE(known.Find(Key(229'999)).has_value());
  EXPECT_TRUE(known.Find(Key(227'000)).has_value());
  EXPECT_FALSE(known.Find(Key(0)).has_value());
}

TEST(KnownMedia, WhatIsAskedForStays) {
  KnownMedia known;
  known.Put(Key(-1), Sound(3));
  for (int i = 0; i < 200'000; ++i) {
    known.Put(Key(i), Picture());
    ASSERT_TRUE(known.Find(Key(-1)).has_value());
  }
  EXPECT_EQ(known.Find(Key(-1))->header.audio().segments_size(), 3);
}

}  // namespace
}  // namespace softsplice

#include "decoder_svc/server/known_media.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <set>
#include <string>

#include "absl/strings/str_format.h"

namespace softsplice {
namespace {

std::string Key(int number) { return absl::StrFormat("%032d", number); }

EncodedMedium Picture() {
  EncodedMedium medium{.runs = {{.rows = 256, .name = std::string(34, 'n')}}};
  medium.header.set_modality(v1::MODALITY_IMAGE);
  medium.header.set_encoder_fingerprint(std::string(32, 'f'));
  medium.header.set_content_digest(std::string(32, 'd'));
  medium.header.mutable_image()->set_grid_rows(16);
  return medium;
}

EncodedMedium Sound(int segments) {
  EncodedMedium medium = Picture();
  medium.runs.assign(static_cast<size_t>(segments), medium.runs[0]);
  for (int i = 0; i < segments; ++i) {
    v1::AudioSegment* segment = medium.header.mutable_audio()->add_segments();
    segment->mutable_start()->set_seconds(i);
    segment->mutable_duration()->set_seconds(30);
  }
  return medium;
}

// Each part of a key counts, and none is taken for another, whatever callers write into theirs.
TEST(KnownMedia, PartsOfKeysAreNotTakenForEachOther) {
  const auto key = [](const std::string& scope, const std::string& fingerprint,
                      const std::string& mime_type, const std::string& data,
                      uint32_t max_soft_tokens = 0, v1::Modality modality = v1::MODALITY_IMAGE) {
    v1::Media media;
    media.set_mime_type(mime_type);
    media.set_data(data);
    media.set_max_soft_tokens(max_soft_tokens);
    return KnownMedia::KeyOf(scope, fingerprint, modality, media);
  };
  const std::set<std::string> keys = {
      key("x", "", "", ""),    key("", "x", "", ""),   key("", "", "x", ""),
      key("", "", "", "x"),    key("", "", "", "", 7), key("", "", "", "", 0, v1::MODALITY_AUDIO),
      key("", "", "", "7:"),   key("", "", "", ""),    key("xy", "", "", ""),
      key("x", "y", "", ""),   key("0:x", "", "", ""), key("", "0:x", "", ""),
      key("x1:y", "", "", ""), key("x", "1:y", "", "")};
  EXPECT_EQ(keys.size(), 14u);
  EXPECT_EQ(key("x", "y", "z", "data"), key("x", "y", "z", "data"));
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

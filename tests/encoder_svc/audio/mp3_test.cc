// MP3 that begins or goes on in other ways than encoders write it.
#include "encoder_svc/audio/mp3.h"

#include <algorithm>
#include <cmath>

#include "common/media/mpeg.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/encoder_svc/audio/sounds.h"

namespace softsplice {
namespace {

using namespace softsplice::testing;  // what these tests are written in

// The frame that is cut is lost, and what the next ones kept in it; then all is as in the whole.
TEST(DecodeMp3, BeginsInTheMiddleOfAFrame) {
  const std::string bytes = File("vbr-no-xing.mp3");
  const auto whole = Decode(bytes);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (const size_t cut : {1u, 7u, 100u, 700u}) {
    const std::string rest = bytes.substr(cut);
    ASSERT_FALSE(IsMpegFrame(rest));
    const auto sound = Decode(rest);
    ASSERT_TRUE(sound.ok()) << cut << ": " << sound.status();
    const auto lost = whole->size() - sound->size();
    EXPECT_EQ(lost % 576, 0u);
    EXPECT_LE(lost, 576u * 8);
    double worst = 0;
    for (size_t i = size_t{576} * 8; i < sound->size(); ++i) {
      worst = std::max(worst, std::abs(double{(*sound)[i]} - (*whole)[i + lost]));
    }
    EXPECT_LT(worst, 1. / 32768) << cut;
  }
}

// Of one rate; the channels are averaged in any case.
TEST(DecodeMp3, GoesFromMonoToStereo) {
  const std::string stereo = File("cbr-44k-stereo.mp3"), mono = File("mono-44k.mp3");
  const auto first = Decode(mono), second = Decode(stereo);
  ASSERT_TRUE(first.ok() && second.ok());
  const auto both = Decode(mono + stereo.substr(FindMp3Frames(stereo)));
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_GE(both->size(), first->size() + second->size() - 1);
  EXPECT_GT(*std::max_element(both->end() - 3200, both->end()), 0.2f);
}

TEST(FindMp3Frames, WantsThreeInARow) {
  const std::string bytes = File("vbr-22k.mp3");
  const size_t first = FindMp3Frames(bytes);
  ASSERT_LT(first, bytes.size());
  EXPECT_TRUE(IsMpegFrame(bytes.substr(first)));
  EXPECT_EQ(FindMp3Frames(absl::string_view(bytes).substr(first, 100)), absl::string_view::npos);
  EXPECT_EQ(FindMp3Frames(std::string(20000, '\xff')), absl::string_view::npos);
  EXPECT_EQ(FindMp3Frames(std::string(20000, ' ') + bytes), absl::string_view::npos);
  EXPECT_EQ(FindMp3Frames(""), absl::string_view::npos);
}

}  // namespace
}  // namespace softsplice

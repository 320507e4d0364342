// What a decoder that was taken over may say instead of frames: /bin/cat repeats the "video".
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/video/decode.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice {
namespace {

using ::testing::HasSubstr;

template <class T>
std::string Bytes(const T& value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::string Message(FfmpegMessage kind, const std::string& bytes = "") {
  return Bytes(FfmpegMessageHeader{kind, static_cast<uint32_t>(bytes.size())}) + bytes;
}
std::string Form(const VideoForm& form, const std::vector<int64_t>& times = {0, 5}) {
  std::string bytes = Bytes(form);
  for (const int64_t time : times) bytes += Bytes(time);
  return Message(FfmpegMessage::kVideo, bytes);
}
std::string Pixels(size_t count) {
  return Message(FfmpegMessage::kPixels, std::string(count, 'x'));
}
const std::string kEnd = Message(FfmpegMessage::kEnd);
// Two frames of two pixels.
constexpr VideoForm kForm = {.width = 2, .height = 1, .frames = 2, .duration = 10};

// A program that takes arguments and repeats its input.
absl::StatusOr<int> FramesOf(const std::string& said) {
  int frames = 0;
  const VideoLimits limits{.max_pixels = 1000, .ffmpeg = SAY_WHAT_COMES};
  const absl::Status status =
      DecodeVideo(said, VideoFormat::kMp4, 2, limits,
                  {.on_header = [](const VideoHeader&) { return absl::OkStatus(); },
                   .on_frame =
                       [&](const Picture& frame) {
                         EXPECT_EQ(frame.rgb, std::vector<uint8_t>(6, 'x'));
                         ++frames;
                         return absl::OkStatus();
                       }});
  if (!status.ok()) return status;
  return frames;
}

TEST(VideoListener, PutsFramesTogether) {
  EXPECT_EQ(*FramesOf(Form(kForm) + Pixels(12) + kEnd), 2);
  EXPECT_EQ(*FramesOf(Form(kForm) + Pixels(1) + Pixels(10) + Pixels(0) + Pixels(1) + kEnd), 2);
}

TEST(VideoListener, BelievesNothing) {
  VideoForm none = kForm, many = kForm, flat = kForm, early = kForm;
  none.frames = 0;
  many.frames = 3;
  flat.height = 0;
  early.duration = -1;
  for (const std::string& said : {
           kEnd,                                         // no form
           Pixels(6) + kEnd,                             // pixels of what?
           Form(kForm) + kEnd,                           // frames are missing
           Form(kForm) + Pixels(11) + kEnd,              // and part of one
           Form(kForm) + Pixels(13) + kEnd,              // too many
           Form(kForm) + Form(kForm) + Pixels(12),       // twice
           Form(none, {}) + kEnd,                        //
           Form(many, {0, 1, 2}) + Pixels(18) + kEnd,    // more than were wanted
           Form(flat) + kEnd,                            //
           Form(early) + Pixels(12) + kEnd,              //
           Form(kForm, {0}) + Pixels(12) + kEnd,         // a time is missing
           Form(kForm, {5, 0}) + Pixels(12) + kEnd,      // backwards
           Form(kForm, {-1, 0}) + Pixels(12) + kEnd,     //
           Message(FfmpegMessage::kVideo, "x") + kEnd,   //
           Message(FfmpegMessage::kSamples, "x") + kEnd  //
       }) {
    const absl::Status status = FramesOf(said).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("does not keep to its messages"));
  }
}

TEST(VideoListener, ChecksSizesThatOverflow) {
  VideoForm large = kForm;
  large.width = large.height = 0xFFFFFFFF;
  EXPECT_EQ(GetErrorDetail(FramesOf(Form(large)).status()).reason, "OVER_LIMIT");
  VideoForm endless = kForm;
  endless.duration = INT64_MAX;
  EXPECT_EQ(GetErrorDetail(FramesOf(Form(endless)).status()).reason, "OVER_LIMIT");
}

TEST(VideoListener, MakesWhatIsWrongPrintable) {
  const absl::Status status =
      FramesOf(Message(FfmpegMessage::kUnreadable, "is \x1b[31mred")).status();
  EXPECT_EQ(GetErrorDetail(status).reason, "INVALID_MEDIA");
  EXPECT_EQ(status.message(), "the MP4 is ?[31mred");
  const absl::Status memory = FramesOf(Message(FfmpegMessage::kOutOfMemory)).status();
  EXPECT_THAT(std::string(memory.message()), HasSubstr("than the 384 MiB that it may"));
}

}  // namespace
}  // namespace softsplice

// The steps that sounds and videos share: one run after another through the towers, as the receiver
// has room for them.
#include <algorithm>
#include <utility>
#include <vector>

#include "common/status/macros.h"
#include "common/time/steady.h"
#include "encoder_svc/audio/mel.h"
#include "encoder_svc/audio/segments.h"
#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/image/patches.h"
#include "encoder_svc/recording.h"

namespace softsplice {

uint64_t EncoderImpl::RecordingOnItsWay::Bytes() const {
  const uint64_t sound = samples.capacity() * sizeof(float);
  if (layout.frames.empty()) return sound;
  const PictureSize size = ResizedSize(layout.frame);
  const size_t left = frames.size() - std::min(next, frames.size());
  return sound + left * PixelBytes(size.width, size.height) + kMostTogether * PatchBytes(size);
}

EncoderImpl::Answer EncoderImpl::Prepared(const SharedRecording& recording, bool header_only) {
  std::string().swap(recording->data);
  recording->memory.ShrinkTo(recording->Bytes());
  if (header_only) recording->Release();
  return [this, recording, header_only] {
    recording->to.layout(recording->layout);
    if (header_only) return recording->Tell(absl::OkStatus());
    EncodeNext(recording);
  };
}

// Behind the others that wait by now: a long recording does not keep them from the encoder.
void EncoderImpl::EncodeNext(const SharedRecording& recording) {
  const RecordingLayout& layout = recording->layout;
  const size_t next = recording->next, frames = layout.frames.size();
  recording->parked = {};
  recording->work =
      next < frames ? pipeline_.backlog().Add(Tower::kImage, layout.frames[next].rows)
                    : pipeline_.backlog().Add(Tower::kAudio, layout.segments[next - frames].rows);
  pipeline_.Encode(recording, {}, [this, recording](const auto&) { return RunNext(recording); });
}

absl::StatusOr<EncoderImpl::Answer> EncoderImpl::RunNext(const SharedRecording& recording) {
  const bool frames = recording->next < recording->layout.frames.size();
  ASSIGN_OR_RETURN(Runs runs, frames ? RunFrames(*recording) : RunSegment(*recording));
  recording->next += runs.size();
  recording->memory.ShrinkTo(recording->Bytes());
  const bool last = recording->next == recording->layout.runs();
  recording->work = {};
  last ? recording->Release() : pipeline_.Offer(*recording);
  return [this, recording, last, runs = std::move(runs)]() mutable {
    for (size_t i = 0; i + 1 < runs.size(); ++i) recording->to.rows(std::move(runs[i]), nullptr);
    if (last) {
      recording->to.rows(std::move(runs.back()), nullptr);
      return recording->Tell(absl::OkStatus());
    }
    recording->to.rows(std::move(runs.back()), [this, recording] { GoOn(recording); });
    if (pipeline_.Park(*recording)) EncodeNext(recording);
  };
}

// As many as a device takes together.
absl::StatusOr<EncoderImpl::Runs> EncoderImpl::RunFrames(RecordingOnItsWay& video) {
  const absl::Duration start = SteadyNow();
  const size_t left = video.layout.frames.size() - video.next;
  const auto together = static_cast<size_t>(LikeIt(video.layout.frame).together);
  std::vector<Patches> pictures;
  for (size_t i = video.next; i < video.next + std::min(left, together); ++i) {
    pictures.push_back(MakePatches(video.frames[i], models_->image()->config().patch));
    video.frames[i] = {};
  }
  const absl::Duration prepared = SteadyNow();
  video.timings.preprocess += prepared - start;
  std::vector<Models::Rows> results = models_->Encode(pictures);
  const absl::Duration forward = SteadyNow() - prepared;
  video.timings.forward += forward;
  Runs runs;
  for (Models::Rows& rows : results) {
    NotePass(rows.status());
    RETURN_IF_ERROR(rows.status());
    runs.push_back(*std::move(rows));
  }
  const int rows = video.layout.frame.rows * static_cast<int>(runs.size());
  pipeline_.backlog().Measured(Tower::kImage, rows, forward);
  return runs;
}

absl::StatusOr<EncoderImpl::Runs> EncoderImpl::RunSegment(RecordingOnItsWay& recording) {
  const absl::Duration start = SteadyNow();
  const size_t index = recording.next - recording.layout.frames.size();
  const MelFrames mel = LogMel(SegmentSamples(recording.samples, index), options_.mel_floor);
  const absl::Duration prepared = SteadyNow();
  recording.timings.preprocess += prepared - start;
  Models::Rows values = models_->Encode(mel);
  NotePass(values.status());
  RETURN_IF_ERROR(values.status());
  const absl::Duration forward = SteadyNow() - prepared;
  recording.timings.forward += forward;
  pipeline_.backlog().Measured(Tower::kAudio, recording.layout.segments[index].rows, forward);
  Runs runs;
  runs.push_back(*std::move(values));
  return runs;
}

void EncoderImpl::GoOn(const SharedRecording& recording) {
  if (Pipeline::Leave(*recording)) EncodeNext(recording);
}

}  // namespace softsplice

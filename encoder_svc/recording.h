// A sound or a video on its way through the encoder.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "encoder_svc/encoder_impl.h"
#include "encoder_svc/image/picture.h"
#include "encoder_svc/medium.h"
#include "encoder_svc/shared_rows.h"

namespace softsplice {

struct EncoderImpl::RecordingOnItsWay final : Medium {
  RecordingOnItsWay(std::shared_ptr<CancelToken> token, absl::Duration until,
                    const Digest& its_digest, std::string its_data, SharedRows::Sink sink)
      : Medium(std::move(token), until),
        digest(its_digest),
        data(std::move(its_data)),
        to(std::move(sink)) {}

  void Tell(const absl::Status& end) override {
    frames = {};
    samples = {};
    timings.queued = queued;
    to.done(end, timings);
  }
  // What is kept from its decoding until its last pass.
  uint64_t Bytes() const;

  const Digest digest;
  std::string data;
  const SharedRows::Sink to;
  RecordingLayout layout;       // once it is decoded
  std::vector<Picture> frames;  // resized; let go of one by one
  std::vector<float> samples;
  size_t next = 0;  // run
  EncodeTimings timings;
};

}  // namespace softsplice

// What the streams of sounds and of videos have in common.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "encoder_svc/server/encode_call.h"

namespace softsplice {

template <class Request, class Response>
class EncodeRecordingCall : public EncodeCall<Request, Response> {
 protected:
  using EncodeCall<Request, Response>::EncodeCall;

  // Where the soft tokens go. `header` fills in the medium's own part.
  RecordingCallbacks Receiver(v1::SoftTokensHeader (*header)(const RecordingLayout& layout)) {
    auto self = std::static_pointer_cast<EncodeRecordingCall>(this->shared_from_this());
    return {.layout =
                [self, header](const RecordingLayout& layout) {
                  self->Guard([&] {
                    self->SendHeader(header(layout), layout.rows, layout.dim,
                                     layout.content_digest);
                  });
                },
            .rows =
                [self](Values values, std::function<void()> next) {
                  self->Guard([&] { self->SendRows(std::move(values), std::move(next)); });
                },
            .done = [self](const absl::Status& end,
                           const EncodeTimings& timings) { self->EndEncoding(end, timings); }};
  }
};

}  // namespace softsplice

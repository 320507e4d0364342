#include "decoder_svc/server/request_record.h"

#include "absl/algorithm/container.h"
#include "common/time/steady.h"

namespace softsplice {
namespace {

Modality ModalityOf(const EncodedMedium& medium) {
  switch (medium.header.modality()) {
    case v1::MODALITY_AUDIO:
      return Modality::kAudio;
    case v1::MODALITY_VIDEO:
      return Modality::kVideo;
    default:
      return Modality::kImage;
  }
}

Modality ModalityOf(absl::Span<const EncodedMedium> media) {
  if (media.empty()) return Modality::kText;
  const Modality first = ModalityOf(media.front());
  const bool alike = absl::c_all_of(
      media, [&](const EncodedMedium& medium) { return ModalityOf(medium) == first; });
  return alike ? first : Modality::kMixed;
}

}  // namespace

void RequestRecord::Submitted(absl::Span<const EncodedMedium> media, int prompt_tokens) {
  modality_ = ModalityOf(media);
  prompt_tokens_ = prompt_tokens;
  submitted_ = SteadyNow();
}

void RequestRecord::Admitted(int cached) {
  admitted_ = SteadyNow();
  Observe(metrics_.queue_seconds, admitted_ - submitted_);
  metrics_.prompt_tokens_total.Increment(prompt_tokens_);
  metrics_.cached_prompt_tokens_total.Increment(cached);
  metrics_.prompt_tokens.Observe(prompt_tokens_);
}

void RequestRecord::Token(absl::Duration since_headers) {
  const absl::Duration now = SteadyNow();
  if (++tokens_ == 1) {
    first_token_ = now;
    Observe(metrics_.time_to_first_token[modality_], since_headers);
    Observe(metrics_.prefill[modality_], now - admitted_);
  } else {
    Observe(metrics_.inter_token[modality_], now - last_token_);
  }
  last_token_ = now;
}

void RequestRecord::Wrote(const v1::Delta& delta) const {
  const bool thought = delta.channel() == v1::CHANNEL_THOUGHT;
  metrics_.output_tokens_total[thought ? TextChannel::kThought : TextChannel::kAnswer].Increment(
      delta.token_ids_size());
}

void RequestRecord::Finished(v1::FinishReason reason) const {
  metrics_.finished[static_cast<Finish>(reason - v1::FINISH_REASON_STOP)].Increment();
  metrics_.output_tokens.Observe(tokens_);
  if (tokens_ > 1) {
    Observe(metrics_.time_per_output_token[modality_],
            (last_token_ - first_token_) / (tokens_ - 1));
  }
}

}  // namespace softsplice

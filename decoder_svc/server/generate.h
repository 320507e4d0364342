// The method Generate.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/server/stream_call.h"
#include "decoder_svc/server/answer.h"
#include "decoder_svc/server/context.h"
#include "decoder_svc/server/load.h"
#include "decoder_svc/server/media.h"
#include "decoder_svc/server/prompt.h"
#include "decoder_svc/server/read_ahead.h"
#include "decoder_svc/server/request_record.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice {

// Check and tokenise (on a worker), encode the media, submit, pass on. The engine's thread leaves
// messages here and never waits for the client; one that is far behind is not written for.
class GenerateCall final : public StreamCall<v1::GenerateRequest, v1::GenerateResponse> {
 public:
  // Above so many bytes of an answer that its client has not read, as it lies in memory, no more
  // are written; below the lower number they are again.
  static constexpr uint64_t kMostUnreadBytes = 1 << 20;
  static constexpr uint64_t kFewUnreadBytes = 256 << 10;

  // `decoder` outlives the call and its work.
  GenerateCall(Call call, const Calls& calls, const DecoderContext& decoder)
      : StreamCall(std::move(call), calls, CallWeight::kHeavy),
        decoder_(decoder),
        ahead_(std::make_shared<ReadAhead>(decoder.engine, decoder.calls.border)),
        record_(decoder.metrics) {}

 private:
  class Sink;
  // Where a run of a medium's rows stands in the prompt.
  struct MediumPlace {
    int medium = 0;
    int first = 0;
    int rows = 0;
  };

  absl::Status Room() const override;
  absl::Status TakeRoom() override;
  void Begin(const v1::GenerateRequest& request) override;
  bool Next(v1::GenerateResponse* message) override;
  void Stop() override;

  absl::Status Prepare(const v1::GenerateRequest& request);
  absl::Status EnterSession(const v1::GenerateRequest& request);
  void CommitTurn();  // with mutex_
  // Ends the call without an answer, its session as it was: the client may ask anew at once.
  void Refuse(const absl::Status& status);
  // Those that are known need no rows if their keys and values are in the engine's cache.
  void BringMedia(bool take_known);
  void BringAllMedia();                                       // as they were not
  void OnBeginning(const std::vector<EncodedMedium>& media);  // that are there
  void OnMedia(absl::StatusOr<std::vector<EncodedMedium>> media);
  absl::Status Submit(const std::vector<EncodedMedium>& media);
  v1::Started MakeStarted(const std::vector<EncodedMedium>& media) const;
  v1::Finished MakeFinished(const EngineResult& result);

  // The engine's thread. Begun: it has read some of the prompt; call it with mutex_.
  void Begun();
  void OnAdmitted(int cached);
  void OnPrefill(int read, int total);
  void OnPaused();
  bool HasRoom();
  bool OnToken(const SampledToken& token);
  void OnResult(absl::StatusOr<EngineResult> result);

  // Adds to what is to be written. RESOURCE_EXHAUSTED: the service holds too much already. Call it
  // with mutex_.
  absl::Status Queue(std::vector<v1::Delta> deltas);

  std::shared_ptr<GenerateCall> Self() {
    return std::static_pointer_cast<GenerateCall>(shared_from_this());
  }

  const DecoderContext& decoder_;
  const std::shared_ptr<ReadAhead> ahead_;
  RequestRecord record_;
  std::unique_ptr<Answer> answer_;  // the engine's thread's, once submitted
  EngineRequest engine_request_;
  Priority priority_ = Priority::kNormal;
  Engine::Place place_;
  History history_ = std::make_shared<const Turns>();  // of the session, if it is in one
  std::vector<PromptPiece> pieces_;
  std::vector<MediumSource> sources_;
  uint64_t seed_ = 0;
  int prompt_tokens_ = 0;
  std::vector<MediumPlace> places_;  // of all media
  absl::Duration encode_;

  // Under mutex_.
  Sessions::Turn turn_;      // of the session, until it is committed or will not be
  std::string answer_text_;  // of such a one
  CountedCall counted_;
  std::shared_ptr<MediaBatch> media_;
  std::optional<Engine::Handle> handle_;
  v1::Progress progress_;  // told while it has a stage and there is nothing else to say
  int cached_ = 0;         // of the prompt, before anything of it was read
  bool begun_ = false;     // the engine reads: `started` may go
  std::optional<v1::Started> started_;
  std::deque<v1::Delta> deltas_;
  uint64_t unread_bytes_ = 0;  // of deltas_, in lease() too
  bool full_ = false;          // no more tokens are taken until much of it was read
  std::optional<v1::Finished> finished_;
};

}  // namespace softsplice

// The engine: a bounded queue in front of one thread that reads prompts and writes answers.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "decoder_svc/engine/engine.h"
#include "decoder_svc/engine/fair_share.h"
#include "decoder_svc/engine/pace.h"
#include "decoder_svc/engine/ranks.h"
#include "decoder_svc/engine/scheduler.h"
#include "decoder_svc/engine/sequence.h"

namespace softsplice {

class EngineImpl final : public Engine {
 public:
  EngineImpl(std::unique_ptr<Ranks> ranks, ModelInfo info, const EngineOptions& options,
             SpecialTokens special);
  ~EngineImpl() override;

  void Start();  // once: the thread that makes rounds until Shutdown
  // A round, of that thread or of a simulation's. False: nobody can go on before something happens.
  bool Round();
  // Between rounds: the caches, and what each sequence holds of them.
  const KvManager& kv() const { return kv_; }
  std::vector<const SequenceKv*> Held() const;

  absl::StatusOr<Place> Reserve(Priority priority, absl::Duration patience) override;
  absl::StatusOr<Place> ReserveAgain(Priority priority) override;
  absl::Status Room(Priority priority, absl::Duration patience) const override;
  absl::StatusOr<Handle> Submit(Place place, EngineRequest request,
                                std::shared_ptr<TokenSink> sink) override;
  absl::StatusOr<Handle> ReadAhead(Priority priority, EngineRequest beginning,
                                   std::shared_ptr<TokenSink> sink) override;
  void Cancel(Handle handle) override;
  int Position(Handle handle) const override;
  const ModelInfo& info() const override { return info_; }
  EngineLoad load() const override;
  absl::Duration last_step() const override { return absl::Nanoseconds(last_step_.load()); }
  absl::Status health() const override;
  void Shutdown() override;

 private:
  using Queue = std::deque<std::unique_ptr<Sequence>>;
  void GiveBack(Priority priority) override;
  // Of a request that is all right.
  absl::StatusOr<std::unique_ptr<Sequence>> MakeSequence(Priority priority, EngineRequest request,
                                                         std::shared_ptr<TokenSink> sink);
  absl::StatusOr<Handle> Enqueue(std::unique_ptr<Sequence> sequence, Queue& queue);
  std::vector<Content> ContentsOf(const Sequence& sequence);
  int32_t InputId(int32_t token) const;
  int MostPositions(const Sequence& sequence) const;
  int Promised(const Sequence& sequence) const;  // positions
  absl::Duration Now() const { return options_.clock(); }

  // With mutex_ held.
  absl::Status Refusal() const;  // why nothing new is taken; OK while it is
  absl::Status Refusal(Priority priority, absl::Duration patience) const;  // or no such request
  Place TakePlace(Priority priority);
  Pace::Work Left(const Sequence& sequence) const;
  absl::Duration ExpectedWait(Priority priority) const;
  void Wake();
  void TakeOutRowless(std::vector<std::unique_ptr<Sequence>>& rowless);
  Queue::iterator NextOfQueue();     // who is to be admitted next; its end: nobody
  bool Follows(Sequence& sequence);  // it waits for another one that reads what it would read
  bool Follows(Sequence& sequence, Sequence& other);
  std::unique_ptr<Sequence> TakeOutAhead();  // that holds memory, which is free then; null: none
  void CountQueue();
  void CountKv();
  void LetGo(Sequence& sequence);  // of its memory and its place among those that run
  // Whose turn comes first: that of the least; of equals, the oldest one's.
  std::tuple<bool, bool, int64_t> Rank(const Sequence& sequence) const;

  // The engine thread.
  void Loop();
  bool Over() const;  // shut down, and nothing is left
  void Hold();        // those whose sinks have no room, and no others
  void EndUnwanted();
  void Grow();
  bool EndAhead();  // of one that reads ahead and holds memory; false: none does
  std::unique_ptr<Sequence>* WhoGivesWay(std::optional<Priority> newcomer);  // null: nobody can
  void Pause(std::unique_ptr<Sequence>& sequence);
  std::optional<Priority> Admit();  // who is next and does not fit
  void AdmitAhead();
  bool Step();  // false: nobody can go on
  void WaitForNews();
  void Plan();  // fills able_, turns_, work_ and parts_
  void Run();   // parts_
  void OnEmptyPlan();
  void FailStep(const absl::Status& status);
  int Rows() const;             // of parts_
  PromptRows RowsRead() const;  // of them, those of prompts
  void Advance(Sequence& sequence, int rows);
  void Pick(Sequence& sequence, const RowLogits& logits);
  void Finish(Sequence& sequence, EngineFinish finish, int32_t stop_token = -1);
  void End(Sequence& sequence, absl::StatusOr<EngineResult> result);
  void Sweep();  // forgets the sequences that ended
  void CountFailure(const absl::Status& status);
  void Fail(const absl::Status& status);  // for good

  const std::unique_ptr<Ranks> ranks_;
  const ModelInfo info_;
  const EngineOptions options_;
  const SpecialTokens special_;
  ContentNames names_;

  // The engine thread's own.
  KvManager kv_;
  std::vector<std::unique_ptr<Sequence>> running_;  // oldest first
  const Sequence* short_ = nullptr;                 // of memory: it waits for some to be free
  std::vector<Sequence*> able_;                     // that are neither held nor short
  std::vector<Turn> turns_;                         // theirs
  std::vector<Sequence*> work_;                     // that have rows in this step
  std::vector<StepPart> parts_;                     // their rows
  BatchShare batch_share_;
  int failures_ = 0;     // in a row
  int empty_plans_ = 0;  // in a row

  std::atomic<int64_t> last_step_;  // nanoseconds of the steady clock
  mutable std::mutex mutex_;        // guards all that follows, but for the thread
  std::condition_variable wake_;
  bool news_ = false;  // since the round began
  Queue queue_;        // oldest first, but for those that are paused
  Queue ahead_;        // oldest first: those that read ahead, now or when there is room
  FairShare shares_;   // of those that wait or run
  absl::flat_hash_set<Handle> live_;
  absl::flat_hash_set<Handle> cancelled_;  // of those alive
  Handle next_handle_ = 1;
  EngineLoad load_;
  int batch_reserved_ = 0;  // of load_.reserved
  int batch_running_ = 0;   // of load_.running
  Pace pace_;
  Pace::Work running_left_;  // of all that run, together
  absl::Status health_;
  bool draining_ = false;  // nothing new is taken, nothing waits
  bool stopping_ = false;  // nothing runs on
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace softsplice

#include "encoder_svc/shared_rows.h"

#include <algorithm>
#include <utility>

#include "common/time/steady.h"
#include "encoder_svc/guarded.h"
#include "encoder_svc/medium.h"

namespace softsplice {

// One medium on its way through the encoder, or what came of it.
struct SharedRows::Pass {
  std::optional<Digest> digest;  // by which others may come to it
  std::shared_ptr<MediumRows> rows = std::make_shared<MediumRows>();
  size_t runs = 1;    // that there will be
  bool kept = false;  // in the cache, as far as it has come
  const std::shared_ptr<CancelToken> cancel = std::make_shared<CancelToken>();
  std::optional<absl::Status> end;
  absl::Duration ended;  // SteadyNow() then; 0: before all who read it
  EncodeTimings timings;
  std::vector<SharedReader> readers;  // until the end
};

// A call that wants the rows.
struct SharedRows::Reader {
  RecordingCallbacks to;
  const absl::Duration deadline;
  const absl::Duration since = SteadyNow();
  SharedPass pass;
  bool began_it = false;
  bool knows_layout = false;
  size_t taken = 0;    // runs
  bool asked = true;   // for the next one
  bool fed = false;    // by a thread, just now
  bool ended = false;  // was told so
  std::optional<absl::Status> left;
};

SharedRows::SharedRows(uint64_t cache_bytes, int dim)
    : dim_(static_cast<uint64_t>(dim)), cache_(cache_bytes), sharing_(cache_bytes > 0) {}

uint64_t SharedRows::BytesOf(int rows) const {
  return static_cast<uint64_t>(rows) * dim_ * sizeof(float);
}

void SharedRows::Read(Wish wish) {
  const auto reader =
      std::make_shared<Reader>(Reader{.to = std::move(wish.to), .deadline = wish.deadline});
  const std::weak_ptr<Reader> weak = reader;
  std::function<void()> unwanted = [this, weak] {
    if (const SharedReader there = weak.lock()) Leave(there, Medium::Cancelled());
  };
  SharedPass pass;
  {
    const std::lock_guard lock(mutex_);
    pass = Admit(reader, wish);
  }
  wish.cancel->Notify(std::move(unwanted));
  if (!reader->began_it) return Feed(reader);
  const absl::Status status = Guarded([&] { return wish.begin(pass->cancel, SinkOf(pass)); });
  if (!status.ok()) OnDone(pass, status, {});
}

SharedRows::SharedPass SharedRows::Find(const Digest& digest) {
  const auto found = passes_.find(digest);
  if (found != passes_.end()) return found->second;
  std::shared_ptr<MediumRows> rows = cache_.Find(digest);
  if (rows == nullptr) return nullptr;
  auto pass = std::make_shared<Pass>();
  pass->runs = rows->runs.size();
  pass->rows = std::move(rows);
  pass->end = absl::OkStatus();
  return pass;
}

SharedRows::SharedPass SharedRows::Admit(const SharedReader& reader, const Wish& wish) {
  const bool shared = sharing_ && wish.digest;
  SharedPass pass = shared ? Find(*wish.digest) : nullptr;
  reader->began_it = pass == nullptr;
  if (shared) ++(reader->began_it ? misses_ : hits_);
  if (reader->began_it) {
    pass = std::make_shared<Pass>();
    pass->readers.reserve(1);
  }
  reader->pass = pass;
  if (pass->end) return pass;
  // In this order: nobody is found here whose wish failed for want of memory.
  deadlines_.Add(reader.get(), reader->deadline, [this, late = std::weak_ptr<Reader>(reader)] {
    if (const SharedReader there = late.lock()) Leave(there, Medium::Late());
  });
  if (reader->began_it && shared && cache_.Takes(wish.bytes)) {
    passes_.emplace(*wish.digest, pass);
    pass->digest = wish.digest;
  }
  pass->readers.push_back(reader);
  return pass;
}

SharedRows::Sink SharedRows::SinkOf(const SharedPass& pass) {
  return {.layout = [this, pass](RecordingLayout layout) { OnLayout(pass, std::move(layout)); },
          .rows =
              [this, pass](std::vector<float> values, std::function<void()> next) {
                OnRows(pass, std::move(values), std::move(next));
              },
          .done = [this, pass](const absl::Status& end,
                               const EncodeTimings& timings) { OnDone(pass, end, timings); }};
}

void SharedRows::TryToKeep(Pass& pass, uint64_t bytes) {
  if (!pass.digest || pass.kept) return;
  pass.kept = cache_.Keep(*pass.digest, pass.rows, bytes);
  // Those who come later can't have all of its rows any more.
  if (!pass.kept) passes_.erase(*std::exchange(pass.digest, std::nullopt));
}

void SharedRows::OnLayout(const SharedPass& pass, RecordingLayout layout) {
  {
    const std::lock_guard lock(mutex_);
    pass->runs = layout.runs();
    TryToKeep(*pass, BytesOf(layout.rows));
    pass->rows->layout = std::move(layout);
  }
  FeedAll(pass);
}

void SharedRows::OnRows(const SharedPass& pass, std::vector<float> values,
                        std::function<void()> next) {
  {
    const std::lock_guard lock(mutex_);
    if (!pass->rows->layout) TryToKeep(*pass, values.size() * sizeof(float));
    pass->rows->runs.push_back(std::make_shared<const std::vector<float>>(std::move(values)));
    if (next != nullptr && !pass->kept) held_[pass.get()] = std::exchange(next, nullptr);
  }
  FeedAll(pass);
  if (next != nullptr) next();
}

// It is nobody's any more: who comes now begins anew.
void SharedRows::Forget(Pass& pass) {
  if (!pass.digest) return;
  passes_.erase(*pass.digest);
  if (pass.kept) cache_.Drop(*pass.digest);
  pass.digest = std::nullopt;
}

void SharedRows::OnDone(const SharedPass& pass, const absl::Status& end,
                        const EncodeTimings& timings) {
  std::vector<SharedReader> readers;
  std::function<void()> held;  // outlives the lock
  {
    const std::lock_guard lock(mutex_);
    if (pass->end) return;
    pass->end = end;
    pass->ended = SteadyNow();
    pass->timings = timings;
    if (end.ok() && pass->digest) {
      passes_.erase(*pass->digest);
    } else {
      Forget(*pass);
    }
    if (const auto found = held_.find(pass.get()); found != held_.end()) {
      held = std::move(found->second);
      held_.erase(found);
    }
    readers = std::exchange(pass->readers, {});
    for (const SharedReader& reader : readers) deadlines_.Remove(reader.get(), reader->deadline);
  }
  for (const SharedReader& reader : readers) Feed(reader);
}

void SharedRows::FeedAll(const SharedPass& pass) {
  std::vector<SharedReader> readers;
  {
    const std::lock_guard lock(mutex_);
    readers = pass->readers;
  }
  for (const SharedReader& reader : readers) Feed(reader);
}

SharedRows::Event SharedRows::NextFor(Reader& reader) {
  if (reader.ended) return {};
  const Pass& pass = *reader.pass;
  if (!reader.left && pass.rows->layout && !reader.knows_layout) {
    reader.knows_layout = true;
    return {.kind = Event::kLayout, .of = pass.rows};
  }
  const bool all = reader.taken == pass.rows->runs.size();
  if (!reader.left && !all && reader.asked) {
    Values values = pass.rows->runs[reader.taken++];
    const bool last = reader.taken == pass.runs;
    reader.asked = last;
    return {.kind = last ? Event::kLastRows : Event::kRows, .values = std::move(values)};
  }
  if (!reader.left && !(pass.end && (all || !pass.end->ok()))) return {};
  reader.ended = true;
  Event event{.kind = Event::kDone, .end = reader.left ? *reader.left : *pass.end};
  const absl::Duration waited = std::max(pass.ended - reader.since, absl::ZeroDuration());
  event.timings =
      reader.began_it ? pass.timings : EncodeTimings{.queued = waited, .cache_hit = true};
  reader.pass = nullptr;  // its rows are no longer in use
  return event;
}

void SharedRows::Tell(const SharedReader& reader, Event& event) {
  switch (event.kind) {
    case Event::kNone:
      return;
    case Event::kLayout:
      return reader->to.layout(*event.of->layout);
    case Event::kRows:
      return reader->to.rows(std::move(event.values), [this, reader] { Ask(reader); });
    case Event::kLastRows:
      return reader->to.rows(std::move(event.values), nullptr);
    case Event::kDone:
      const RecordingCallbacks to = std::exchange(reader->to, {});  // it may hold the reader
      return to.done(event.end, event.timings);
  }
}

void SharedRows::Feed(const SharedReader& reader) {
  std::unique_lock lock(mutex_);
  if (std::exchange(reader->fed, true)) return;
  for (Event event = NextFor(*reader); event.kind != Event::kNone; event = NextFor(*reader)) {
    lock.unlock();
    const absl::Status told = Guarded([&] {
      Tell(reader, event);
      return absl::OkStatus();
    });
    lock.lock();
    if (!told.ok() && !reader->left) reader->left = told;
  }
  reader->fed = false;
}

void SharedRows::Ask(const SharedReader& reader) {
  SharedPass pass;
  {
    const std::lock_guard lock(mutex_);
    reader->asked = true;
    pass = reader->pass;
  }
  if (pass == nullptr) return;
  Feed(reader);
  Resume(pass);
}

void SharedRows::Leave(const SharedReader& reader, const absl::Status& why) {
  SharedPass pass;
  bool abandoned = false;
  {
    const std::lock_guard lock(mutex_);
    if (reader->ended || reader->left) return;
    reader->left = why;
    pass = reader->pass;
    deadlines_.Remove(reader.get(), reader->deadline);
    pass->readers.erase(std::remove(pass->readers.begin(), pass->readers.end(), reader),
                        pass->readers.end());
    abandoned = pass->readers.empty() && !pass->end;
    if (abandoned) Forget(*pass);
  }
  if (abandoned) pass->cancel->Cancel();
  Feed(reader);
  if (!abandoned) Resume(pass);
}

void SharedRows::Resume(const SharedPass& pass) {
  std::function<void()> next;
  {
    const std::lock_guard lock(mutex_);
    const size_t there = pass->rows->runs.size();
    const auto held = held_.find(pass.get());
    if (held == held_.end()) return;
    for (const SharedReader& reader : pass->readers) {
      if (!reader->asked || reader->taken < there) return;
    }
    next = std::move(held->second);
    held_.erase(held);
    // All have them.
    for (Values& run : pass->rows->runs) run = nullptr;
  }
  next();
}

void SharedRows::ResumeAll() {
  std::map<const Pass*, std::function<void()>> held;
  {
    const std::lock_guard lock(mutex_);
    held = std::exchange(held_, {});
  }
  for (const auto& [pass, next] : held) next();
}

void SharedRows::AddTo(EncoderLoadFigures& load) const {
  const std::lock_guard lock(mutex_);
  load.cache_bytes = cache_.bytes();
  load.cache_hits = hits_;
  load.cache_misses = misses_;
}

}  // namespace softsplice

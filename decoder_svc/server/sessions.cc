// See sessions.h.
#include "decoder_svc/server/sessions.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/hash/sha256.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/status/reasons.h"

namespace softsplice {
namespace {

constexpr absl::Duration kBusyRetry = absl::Seconds(1);
constexpr absl::Duration kFullRetry = absl::Seconds(10);
// Of an answer, about.
constexpr uint64_t kAnswerBytes = 64 << 10;
// Beside what protobuf knows of: the heads of blocks on the heap, of a message's and of each
// part's.
constexpr uint64_t kHeadBytes = 32;

// Hosts may share a name, and replicas a host: only what is advertised tells one from another.
std::string PlaceOf(const SessionOptions& options) {
  if (!options.advertise.empty()) return options.advertise;
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  return Sha256Hex(host.data()).substr(0, 12);
}

// So many bytes that nobody can guess, as text. The system never lacks 256.
std::string Secret(size_t bytes) {
  std::string secret(bytes, '\0');
  if (getentropy(secret.data(), bytes) != 0) std::abort();
  return absl::BytesToHexString(secret);
}

absl::Status NotFound(const char* reason, absl::string_view message) {
  return MakeError(absl::StatusCode::kNotFound, message, {.reason = reason, .field = "session_id"});
}

absl::Status Full(absl::string_view message) {
  return MakeError(absl::StatusCode::kResourceExhausted, message,
                   {.reason = reason::kSessionsFull, .retry_after = kFullRetry});
}

}  // namespace

uint64_t BytesOf(const v1::Message& message) {
  return message.SpaceUsedLong() + kHeadBytes * (1 + static_cast<uint64_t>(message.parts_size()));
}

Sessions::Turn& Sessions::Turn::operator=(Turn&& other) noexcept {
  std::swap(sessions_, other.sessions_);
  std::swap(session_, other.session_);
  std::swap(reserved_, other.reserved_);
  return *this;
}

Sessions::Turn::~Turn() {
  if (session_ == nullptr) return;
  const std::lock_guard lock(sessions_->mutex_);
  sessions_->reserved_ -= reserved_;
  session_->busy = false;
  session_->used = sessions_->options_.clock();
}

const std::string& Sessions::Turn::salt() const { return session_->salt; }

const History& Sessions::Turn::history() const { return session_->history; }

void Sessions::Turn::Commit(std::vector<v1::Message> messages) {
  Turns turns = *history();
  turns.reserve(turns.size() + messages.size());
  for (v1::Message& message : messages) {
    const uint64_t bytes = BytesOf(message);
    turns.push_back(sessions_->Store(std::move(message), bytes));
  }
  const uint64_t bytes = turns.capacity() * sizeof(turns[0]);
  History history = sessions_->Store(std::move(turns), bytes);
  const std::lock_guard lock(sessions_->mutex_);
  session_->history.swap(history);
}

Sessions::Sessions(const SessionOptions& options)
    : options_(options), place_(PlaceOf(options)), boot_(Secret(4)) {}

template <class Value>
std::shared_ptr<const Value> Sessions::Store(Value value, uint64_t bytes) const {
  *bytes_ += bytes;
  return {new Value(std::move(value)), [all = bytes_, bytes](const Value* stored) {
            delete stored;
            *all -= bytes;
          }};
}

absl::StatusOr<std::string> Sessions::Create(const Caller& owner, absl::Duration idle_timeout,
                                             std::string salt) {
  if (idle_timeout < absl::ZeroDuration() || idle_timeout > options_.max_idle_timeout) {
    return InvalidField(
        "idle_timeout",
        absl::StrCat("idle_timeout is ", absl::FormatDuration(idle_timeout), "; it may be up to ",
                     absl::FormatDuration(options_.max_idle_timeout)));
  }
  if (idle_timeout == absl::ZeroDuration()) idle_timeout = options_.idle_timeout;
  const std::lock_guard lock(mutex_);
  return Add(std::make_shared<Session>(
      Session{.owner = owner, .salt = std::move(salt), .idle_timeout = idle_timeout}));
}

absl::StatusOr<std::string> Sessions::Fork(const Caller& owner, const std::string& id) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const std::shared_ptr<Session> from, Find(owner, id));
  return Add(std::make_shared<Session>(Session{.owner = owner,
                                               .salt = from->salt,
                                               .idle_timeout = from->idle_timeout,
                                               .history = from->history}));
}

absl::StatusOr<std::string> Sessions::Add(std::shared_ptr<Session> session) {
  Expire();
  const int most_of_one = (options_.max_sessions + 1) / 2;
  const auto same = [&](const auto& entry) {
    return entry.second->owner.key() == session->owner.key();
  };
  if (static_cast<int>(sessions_.size()) >= options_.max_sessions) {
    return Full(absl::StrCat("there are ", sessions_.size(), " sessions, and no room for more"));
  }
  if (absl::c_count_if(sessions_, same) >= most_of_one) {
    return Full(absl::StrCat("this client has ", most_of_one, " sessions; one may have no more"));
  }
  session->used = options_.clock();
  const std::string id = absl::StrCat(place_, "~", boot_, "~", Secret(16));
  sessions_[id] = std::move(session);
  return id;
}

absl::StatusOr<std::shared_ptr<Sessions::Session>> Sessions::Find(const Caller& caller,
                                                                  const std::string& id) {
  Expire();
  const auto found = sessions_.find(id);
  if (found != sessions_.end() && found->second->owner.name == caller.name) return found->second;
  const std::vector<absl::string_view> parts = absl::StrSplit(id, '~');
  if (parts.size() != 3) return NotFound(reason::kSessionExpired, "session_id is none of ours");
  if (parts[0] != place_) {
    return MakeError(
        absl::StatusCode::kNotFound, "the session lives in another decoder",
        {.reason = reason::kSessionElsewhere,
         .field = "session_id",
         .endpoint = absl::StrContains(parts[0], ':') ? std::string(parts[0]) : std::string()});
  }
  if (parts[1] != boot_) {
    return NotFound(reason::kSessionLost, "the session is gone: its decoder was started anew");
  }
  return NotFound(reason::kSessionExpired, "the session has expired, or was deleted");
}

void Sessions::Expire() {
  const absl::Duration now = options_.clock();
  absl::erase_if(sessions_, [&](const auto& entry) {
    const Session& session = *entry.second;
    return !session.busy && now - session.used >= session.idle_timeout;
  });
}

absl::Status Sessions::Delete(const Caller& caller, const std::string& id) {
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(Find(caller, id).status());
  sessions_.erase(id);
  return absl::OkStatus();
}

absl::StatusOr<Sessions::Turn> Sessions::Begin(const Caller& caller, const std::string& id,
                                               uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(const std::shared_ptr<Session> session, Find(caller, id));
  if (session->busy) {
    return MakeError(
        absl::StatusCode::kAborted, "another request is in the session",
        {.reason = reason::kSessionBusy, .field = "session_id", .retry_after = kBusyRetry});
  }
  const uint64_t wanted = bytes + kAnswerBytes;
  if (*bytes_ + reserved_ + wanted > options_.max_bytes) {
    return Full(absl::StrCat("the histories of all sessions have ", bytes_->load(),
                             " bytes; at most ", options_.max_bytes, " are kept"));
  }
  reserved_ += wanted;
  session->busy = true;
  Turn turn;
  turn.sessions_ = this;
  turn.session_ = session;
  turn.reserved_ = wanted;
  return turn;
}

int Sessions::count() const {
  const std::lock_guard lock(mutex_);
  const absl::Duration now = options_.clock();
  return static_cast<int>(absl::c_count_if(sessions_, [&](const auto& entry) {
    return entry.second->busy || now - entry.second->used < entry.second->idle_timeout;
  }));
}

}  // namespace softsplice

#include "common/server/health.h"

#include <condition_variable>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/server/raw_message.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace softsplice {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

// Calls whose request has not come yet. One more takes the place of the oldest: whoever fills them
// does not keep others out, for an honest call is there for an instant only.
constexpr size_t kMaxAsking = 64;
constexpr absl::Duration kAskLimit = absl::Seconds(5);
constexpr int kMaxWatches = 128;
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

}  // namespace

class Health::Service final : public RawService {
 public:
  class Call;

  explicit Service(const std::vector<std::string>& services);

  void Set(const std::vector<std::string>& names, bool serving);
  void EndWatches(absl::Duration limit);
  void EndSlowCalls();
  const std::vector<std::string>& names() const { return names_; }

 private:
  void TellAll();
  void ForgetWatch();

  const std::vector<std::string> names_;  // "" and the services

  std::mutex mutex_;
  std::map<std::string, HealthCheckResponse::ServingStatus> statuses_;
  std::list<Call*> asking_;  // the oldest first
  std::list<Call*> watches_;
  int unfinished_watches_ = 0;  // those of watches_, and those whose end is on its way
  std::condition_variable watch_finished_;
  bool ending_ = false;
};

// A Check or a Watch. All of it happens under the service's mutex.
class Health::Service::Call final : public Reactor<HealthCheckResponse> {
 public:
  Call(Service* service, bool watch) : service_(*service), watch_(watch), begun_(SteadyNow()) {
    const std::lock_guard lock(service_.mutex_);
    place_ = service_.asking_.insert(service_.asking_.end(), this);
    StartRead(&bytes_);
    if (service_.asking_.size() > kMaxAsking) service_.asking_.front()->EndAsTooSlow();
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(service_.mutex_);
    if (ended_) return;
    HealthCheckRequest request;
    const absl::Status status =
        ok ? ParseSmall(bytes_, &request)
           : MakeError(absl::StatusCode::kInvalidArgument, "the call has no request message",
                       {.reason = reason::kMalformedRequest});
    bytes_.Clear();
    if (!status.ok()) return End(status);
    name_ = request.service();
    if (watch_) return BeginWatch();
    const auto found = service_.statuses_.find(name_);
    Leave();
    if (found == service_.statuses_.end()) {
      return Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service"));
    }
    response_.set_status(found->second);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(service_.mutex_);
    writing_ = false;
    if (ok) Tell();
  }

  void OnCancel() override {
    const std::lock_guard lock(service_.mutex_);
    if (!ended_) End(absl::CancelledError());
  }

  void OnDone() override {
    if (watching_) service_.ForgetWatch();
    delete this;
  }

  // Writes what the watcher does not know yet, one message at a time, and then the end.
  void Tell() {
    if (writing_ || ended_) return;
    const auto found = service_.statuses_.find(name_);
    const auto now =
        found == service_.statuses_.end() ? HealthCheckResponse::SERVICE_UNKNOWN : found->second;
    if (told_ != now) {
      told_ = now;
      writing_ = true;
      response_.set_status(now);
      StartWrite(&response_);
    } else if (service_.ending_) {
      End(MakeError(absl::StatusCode::kUnavailable, "the service is stopping",
                    {.reason = reason::kDraining, .retry_after = kRetryDelay}));
    }
  }

  void EndAsTooSlow() {
    End(MakeError(absl::StatusCode::kResourceExhausted, "the client did not send its request",
                  {.reason = reason::kClientTooSlow}));
  }

  absl::Duration begun() const { return begun_; }

 private:
  void BeginWatch() {
    if (service_.watches_.size() >= kMaxWatches) {
      return End(MakeError(absl::StatusCode::kResourceExhausted,
                           absl::StrCat(kMaxWatches, " clients watch already"),
                           {.reason = reason::kServerBusy, .retry_after = kRetryDelay}));
    }
    service_.watches_.splice(service_.watches_.end(), service_.asking_, place_);
    watching_ = true;
    ++service_.unfinished_watches_;
    Tell();
  }

  void Leave() {
    ended_ = true;
    (watching_ ? service_.watches_ : service_.asking_).erase(place_);
  }

  void End(const absl::Status& status) {
    Leave();
    Finish(ToGrpcStatus(status));
  }

  Service& service_;
  const bool watch_;
  const absl::Duration begun_;
  std::list<Call*>::iterator place_;  // in asking_ or watches_
  bool watching_ = false;
  bool writing_ = false;
  bool ended_ = false;
  grpc::ByteBuffer bytes_;
  std::string name_;
  HealthCheckResponse response_;
  std::optional<HealthCheckResponse::ServingStatus> told_;
};

namespace {

std::vector<std::string> WithProcess(std::vector<std::string> services) {
  services.emplace_back();
  return services;
}

}  // namespace

Health::Service::Service(const std::vector<std::string>& services) : names_(WithProcess(services)) {
  Set(names_, false);
  Set({kLivenessName}, true);
  for (const bool watch : {false, true}) {
    Serve<HealthCheckResponse>(
        watch ? "/grpc.health.v1.Health/Watch" : "/grpc.health.v1.Health/Check",
        [this, watch](grpc::CallbackServerContext* /*context*/) { return new Call(this, watch); });
  }
}

void Health::Service::Set(const std::vector<std::string>& names, bool serving) {
  const std::lock_guard lock(mutex_);
  for (const std::string& name : names) {
    statuses_[name] = serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
  }
  TellAll();
}

void Health::Service::EndWatches(absl::Duration limit) {
  std::unique_lock lock(mutex_);
  ending_ = true;
  TellAll();
  watch_finished_.wait_for(lock, absl::ToChronoMilliseconds(limit),
                           [this] { return unfinished_watches_ == 0; });
}

void Health::Service::ForgetWatch() {
  const std::lock_guard lock(mutex_);
  --unfinished_watches_;
  watch_finished_.notify_all();
}

void Health::Service::TellAll() {
  const std::list<Call*> watches = watches_;  // one that ends leaves the list
  for (Call* watch : watches) watch->Tell();
}

void Health::Service::EndSlowCalls() {
  const std::lock_guard lock(mutex_);
  const absl::Duration begin = SteadyNow() - kAskLimit;
  while (!asking_.empty() && asking_.front()->begun() < begin) asking_.front()->EndAsTooSlow();
}

Health::Health(const std::vector<std::string>& services)
    : service_(std::make_unique<Service>(services)) {}

Health::~Health() = default;

grpc::Service& Health::service() { return *service_; }

void Health::SetServing(bool serving) { service_->Set(service_->names(), serving); }

void Health::SetAlive(bool alive) { service_->Set({kLivenessName}, alive); }

void Health::EndWatches(absl::Duration limit) { service_->EndWatches(limit); }

void Health::EndSlowCalls() { service_->EndSlowCalls(); }

}  // namespace softsplice

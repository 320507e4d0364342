#include "decoder_svc/server/session_calls.h"

#include <string>

#include "common/server/duration.h"
#include "common/status/error.h"
#include "decoder_svc/server/options.h"

namespace softsplice {
namespace {

// A session of that id, if there is one.
template <class Response>
absl::StatusOr<Response> Named(absl::StatusOr<std::string> id, const Sessions& sessions) {
  if (!id.ok()) return id.status();
  Response response;
  response.set_session_id(*std::move(id));
  response.set_endpoint(sessions.endpoint());
  return response;
}

}  // namespace

template <>
void CreateSessionCall::Begin(const v1::CreateSessionRequest& request) {
  if (const absl::Status status = CheckSalt(request.cache_salt()); !status.ok()) {
    return End(status);
  }
  auto response = Named<v1::CreateSessionResponse>(
      sessions_.Create(call().caller(), GetDuration(request.idle_timeout()), request.cache_salt()),
      sessions_);
  if (!response.ok()) return End(response.status());
  Answer(*std::move(response));
}

template <>
void ForkSessionCall::Begin(const v1::ForkSessionRequest& request) {
  auto response = Named<v1::ForkSessionResponse>(
      sessions_.Fork(call().caller(), request.session_id()), sessions_);
  if (!response.ok()) return End(response.status());
  Answer(*std::move(response));
}

template <>
void DeleteSessionCall::Begin(const v1::DeleteSessionRequest& request) {
  const absl::Status status = sessions_.Delete(call().caller(), request.session_id());
  if (!status.ok()) return End(status);
  Answer({});
}

}  // namespace softsplice

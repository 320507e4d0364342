#include "deploy/cli/conversation.h"

#include <set>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/media/kind.h"
#include "deploy/cli/answer.h"
#include "deploy/cli/client.h"

namespace softsplice {
namespace {

// Proxies give calls of the same value to the same decoder (deploy/envoy).
constexpr char kRouteHeader[] = "x-softsplice-session";

std::string RandomRoute() {
  absl::BitGen random;
  return absl::StrCat(absl::Hex(random(), absl::kZeroPad16), absl::Hex(random(), absl::kZeroPad16));
}

// What the server does first with `message`.
std::string Waiting(const v1::Message& message) {
  std::set<ContentKind> kinds;
  for (const v1::Part& part : message.parts()) {
    if (!part.has_media()) continue;
    const ContentKind kind = KindOf(part.media().mime_type(), part.media().data());
    kinds.insert(kind == ContentKind::kNeither ? ContentKind::kPicture : kind);
  }
  if (kinds.empty()) return "waiting for the server";
  if (kinds.size() > 1) return "looking and listening";
  switch (*kinds.begin()) {
    case ContentKind::kSound:
      return "listening to the sound";
    case ContentKind::kVideo:
      return "watching the video";
    default:
      return "looking at the picture";
  }
}

int MediaIn(const v1::Message& message) {
  return static_cast<int>(
      absl::c_count_if(message.parts(), [](const v1::Part& part) { return !part.has_text(); }));
}

// Whether the session is what failed: the decoder does not have it, or is not there any more.
bool IsOfSession(const grpc::Status& status) {
  return status.error_code() == grpc::StatusCode::UNAVAILABLE ||
         absl::StartsWith(ReadFailure(status).reason, "SESSION");
}

}  // namespace

Conversation::Conversation(const std::shared_ptr<grpc::Channel>& channel,
                           ConversationOptions options, Interrupts& interrupts)
    : stub_(v1::DecoderService::NewStub(channel)),
      options_(std::move(options)),
      turns_(options_.request.chat().messages().begin(), options_.request.chat().messages().end()),
      first_turns_(turns_.size()),
      route_(options_.session ? RandomRoute() : ""),
      interrupts_(interrupts) {
  options_.request.mutable_chat()->clear_messages();
}

int Conversation::Ask(v1::Message message) {
  turns_.push_back(std::move(message));
  Heard heard;
  const grpc::Status status = Send(heard);
  const bool interrupted = !status.ok() && interrupts_.raised();
  if (status.ok() || (interrupted && !heard.text.empty())) {
    v1::Message& turn = turns_.emplace_back();
    turn.set_role(v1::ROLE_MODEL);
    turn.add_parts()->set_text(std::move(heard.text));
  } else {
    turns_.pop_back();
  }
  if (session_) session_->turns = turns_.size();
  if (!heard.shown.ok()) {
    mute_ = true;
    return ReportFailure(heard.shown, false);
  }
  if (interrupted) return kExitInterrupted;
  return status.ok() ? kExitOk : ReportCallFailure(status, options_.json);
}

void Conversation::Reset() {
  LeaveSession();
  turns_.resize(first_turns_);
}

// After any failure nobody knows for sure where the session stands. The next one gets all turns.
grpc::Status Conversation::Send(Heard& heard) {
  for (;;) {
    if (options_.session && !session_) OpenSession();
    const grpc::Status status = Stream(heard);
    if (status.ok() || !session_) return status;
    const bool was_new = session_->turns == 0;
    LeaveSession();
    if (heard.any || interrupts_.raised() || !IsOfSession(status)) return status;
    if (was_new) options_.session = false;
  }
}

grpc::Status Conversation::Stream(Heard& heard) {
  const v1::Message& turn = turns_.back();
  const auto printer =
      options_.json ? MakeJsonPrinter() : MakeTextPrinter(Waiting(turn), MediaIn(turn));
  v1::GenerateRequest request = options_.request;
  for (size_t i = session_ ? session_->turns : 0; i < turns_.size(); ++i) {
    *request.mutable_chat()->add_messages() = turns_[i];
  }
  if (session_) request.set_session_id(session_->id);
  grpc::ClientContext context;
  KeepTogether(context);
  if (options_.timeout < absl::InfiniteDuration()) SetDeadline(context, options_.timeout);
  interrupts_.OnRaise([&] { context.TryCancel(); });
  if (interrupts_.raised()) context.TryCancel();
  Stub& stub = session_ && session_->stub ? *session_->stub : *stub_;
  const auto stream = stub.Generate(&context, request);
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    heard.any = true;
    if (response.delta().channel() == v1::CHANNEL_ANSWER) heard.text += response.delta().text();
    if (heard.shown.ok()) heard.shown = printer->OnEvent(response);
    if (!heard.shown.ok()) context.TryCancel();
  }
  const grpc::Status status = stream->Finish();
  interrupts_.OnRaise({});
  printer->OnEnd();
  return status;
}

void Conversation::KeepTogether(grpc::ClientContext& context) const {
  if (!route_.empty()) context.AddMetadata(kRouteHeader, route_);
}

void Conversation::OpenSession() {
  grpc::ClientContext context;
  KeepTogether(context);
  SetDeadline(context, kConnectLimit);
  v1::CreateSessionResponse response;
  if (!stub_->CreateSession(&context, {}, &response).ok()) {
    options_.session = false;
    return;
  }
  session_.emplace().id = response.session_id();
  std::string endpoint = response.endpoint();
  if (endpoint.empty()) return;
  const Access access = AccessToPeer(options_.server, options_.access, &endpoint);
  const auto channel = OpenChannel(endpoint, access);
  // A token that would travel in plain text stays here; so does the session's other decoder.
  if (channel.ok()) session_->stub = v1::DecoderService::NewStub(*channel);
}

// The decoder forgets it by itself later, if this does not reach it.
void Conversation::LeaveSession() {
  if (!session_) return;
  grpc::ClientContext context;
  KeepTogether(context);
  SetDeadline(context, absl::Seconds(1));
  v1::DeleteSessionRequest request;
  request.set_session_id(session_->id);
  v1::DeleteSessionResponse response;
  Stub& stub = session_->stub ? *session_->stub : *stub_;
  stub.DeleteSession(&context, request, &response).IgnoreError();
  session_.reset();
}

}  // namespace softsplice

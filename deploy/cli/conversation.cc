#include "deploy/cli/conversation.h"

#include <string>
#include <utility>

#include "common/media/sound.h"
#include "deploy/cli/answer.h"
#include "deploy/cli/client.h"

namespace softsplice {
namespace {

// What the server does first with `message`.
std::string Waiting(const v1::Message& message) {
  bool pictures = false;
  bool sounds = false;
  for (const v1::Part& part : message.parts()) {
    if (!part.has_media()) continue;
    const bool sound = IsSound(part.media().mime_type(), part.media().data());
    (sound ? sounds : pictures) = true;
  }
  if (pictures && sounds) return "looking and listening";
  if (pictures) return "looking at the picture";
  return sounds ? "listening to the sound" : "waiting for the server";
}

}  // namespace

Conversation::Conversation(const std::shared_ptr<grpc::Channel>& channel,
                           v1::GenerateRequest request, absl::Duration timeout, bool json,
                           Interrupts& interrupts)
    : stub_(v1::DecoderService::NewStub(channel)),
      request_(std::move(request)),
      first_turns_(request_.chat().messages_size()),
      timeout_(timeout),
      json_(json),
      interrupts_(interrupts) {}

int Conversation::Ask(v1::Message message) {
  auto& turns = *request_.mutable_chat()->mutable_messages();
  *turns.Add() = std::move(message);
  std::string answer;
  const grpc::Status status = Stream(answer);
  const bool interrupted = !status.ok() && interrupts_.raised();
  if (status.ok() || (interrupted && !answer.empty())) {
    v1::Message& turn = *turns.Add();
    turn.set_role(v1::ROLE_MODEL);
    turn.add_parts()->set_text(std::move(answer));
  } else {
    turns.RemoveLast();
  }
  if (interrupted) return kExitInterrupted;
  return status.ok() ? kExitOk : ReportCallFailure(status, json_);
}

void Conversation::Reset() {
  auto& turns = *request_.mutable_chat()->mutable_messages();
  turns.DeleteSubrange(first_turns_, turns.size() - first_turns_);
}

grpc::Status Conversation::Stream(std::string& answer) {
  const auto& turns = request_.chat().messages();
  const auto printer =
      json_ ? MakeJsonPrinter() : MakeTextPrinter(Waiting(turns[turns.size() - 1]));
  grpc::ClientContext context;
  if (timeout_ < absl::InfiniteDuration()) SetDeadline(context, timeout_);
  interrupts_.OnRaise([&] { context.TryCancel(); });
  if (interrupts_.raised()) context.TryCancel();
  const auto stream = stub_->Generate(&context, request_);
  v1::GenerateResponse response;
  while (stream->Read(&response)) {
    if (response.delta().channel() == v1::CHANNEL_ANSWER) answer += response.delta().text();
    printer->OnEvent(response);
  }
  const grpc::Status status = stream->Finish();
  interrupts_.OnRaise({});
  printer->OnEnd();
  return status;
}

}  // namespace softsplice

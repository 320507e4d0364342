// Sessions over the wire.
#include "common/status/error.h"
#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

class DecoderSessions : public DecoderService {
 protected:
  DecoderSessions() { engine_.script = tokenizer_.Encode("a red circle", false); }
  v1::CreateSessionResponse Create(const std::string& salt = "") {
    grpc::ClientContext context;
    v1::CreateSessionRequest request;
    request.set_cache_salt(salt);
    v1::CreateSessionResponse response;
    EXPECT_TRUE(stub_->CreateSession(&context, request, &response).ok());
    return response;
  }
  std::string Fork(const std::string& id) {
    grpc::ClientContext context;
    v1::ForkSessionRequest request;
    request.set_session_id(id);
    v1::ForkSessionResponse response;
    EXPECT_TRUE(stub_->ForkSession(&context, request, &response).ok());
    EXPECT_EQ(response.endpoint(), "me:1");
    return response.session_id();
  }
  absl::Status Delete(const std::string& id) {
    grpc::ClientContext context;
    v1::DeleteSessionRequest request;
    request.set_session_id(id);
    v1::DeleteSessionResponse response;
    return FromGrpcStatus(stub_->DeleteSession(&context, request, &response));
  }
  static v1::GenerateRequest In(const std::string& id, const std::string& text) {
    v1::GenerateRequest request = Hello();
    request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->set_text(text);
    request.set_session_id(id);
    return request;
  }
  // The prompt that the engine got for it.
  std::vector<int32_t> Ask(const v1::GenerateRequest& request) {
    const Answer answer = Generate(request);
    EXPECT_TRUE(answer.status.ok()) << answer.status;
    return engine_.last().prompt.tokens;
  }
};

TEST_F(DecoderSessions, AreReadAsTheWholeConversation) {
  const v1::CreateSessionResponse session = Create();
  EXPECT_EQ(session.endpoint(), "me:1");
  v1::GenerateRequest whole = WithPicture();
  v1::GenerateRequest first = WithPicture();
  first.set_session_id(session.session_id());
  EXPECT_EQ(Ask(first), Ask(whole));
  for (const std::string text : {"And now?", "Thank you!"}) {
    v1::Message* answer = whole.mutable_chat()->add_messages();
    answer->set_role(v1::ROLE_MODEL);
    answer->add_parts()->set_text("a red circle");
    v1::Message* next = whole.mutable_chat()->add_messages();
    next->set_role(v1::ROLE_USER);
    next->add_parts()->set_text(text);
    EXPECT_EQ(Ask(In(session.session_id(), text)), Ask(whole)) << text;
  }
}

TEST_F(DecoderSessions, ForksAndDeletesOverTheWire) {
  const std::string id = Create().session_id();
  const std::vector<int32_t> one = Ask(In(id, "One."));
  const std::string fork = Fork(id);
  EXPECT_EQ(Ask(In(id, "Two.")), Ask(In(fork, "Two.")));
  EXPECT_TRUE(Delete(id).ok());
  EXPECT_EQ(GetErrorDetail(Delete(id)).reason, "SESSION_EXPIRED");
  ExpectError(In(id, "Three."), absl::StatusCode::kNotFound, "session_id");
  EXPECT_GT(Ask(In(fork, "Three.")).size(), 2 * one.size());
}

TEST_F(DecoderSessions, HaveTheirSalt) {
  const std::string id = Create("mine").session_id();
  Ask(In(id, "One."));
  EXPECT_EQ(engine_.last().cache_scope, "mine");
  v1::GenerateRequest other = In(id, "Two.");
  other.set_cache_salt("yours");
  ExpectError(other, absl::StatusCode::kInvalidArgument, "cache_salt");
  other.set_cache_salt("mine");
  Ask(other);
}

// However a request ends, if not with an answer: the next one finds the session as it was, at once.
TEST_F(DecoderSessions, AreAsTheyWereAfterAFailure) {
  const std::string id = Create().session_id();
  const std::vector<int32_t> before = Ask(In(id, "One."));
  v1::GenerateRequest bad = In(id, "Two.");
  bad.mutable_chat()->mutable_messages(0)->add_parts();
  EXPECT_TRUE(absl::IsInvalidArgument(Generate(bad).status));
  engine_.result_error = MakeError(absl::StatusCode::kInternal, "no", {.reason = "INTERNAL"});
  EXPECT_TRUE(absl::IsInternal(Generate(In(id, "Two.")).status));
  engine_.result_error = absl::OkStatus();
  std::string words;
  for (int i = 0; i < kContext; ++i) words += "word ";
  EXPECT_EQ(GetErrorDetail(Generate(In(id, words)).status).reason, "PROMPT_TOO_LONG");
  encoder_.encode = [](auto*, auto*, auto*) { return grpc::Status(grpc::INTERNAL, "no"); };
  v1::GenerateRequest picture = WithPicture();
  picture.set_session_id(id);
  EXPECT_FALSE(Generate(picture).status.ok());
  const std::string fork = Fork(id);
  EXPECT_EQ(Ask(In(id, "Two.")), Ask(In(fork, "Two.")));
}

TEST_F(DecoderSessions, TakeTurnsOnly) {
  const std::string id = Create().session_id();
  v1::GenerateRequest raw = Parse("raw { parts { text: 'x' } }");
  raw.set_session_id(id);
  ExpectError(raw, absl::StatusCode::kInvalidArgument, "chat");
  v1::GenerateRequest none = Parse("chat { }");
  none.set_session_id(id);
  ExpectError(none, absl::StatusCode::kInvalidArgument, "chat");
  ExpectError(In("x", "Hello!"), absl::StatusCode::kNotFound, "session_id");
}

TEST_F(DecoderSessions, AreCounted) {
  const std::string id = Create().session_id();
  const auto count = [&] {
    grpc::ClientContext context;
    v1::GetDecoderInfoResponse info;
    EXPECT_TRUE(stub_->GetDecoderInfo(&context, {}, &info).ok());
    return info.load().sessions();
  };
  EXPECT_EQ(count(), 1u);
  session_clock_ += absl::Minutes(15);
  EXPECT_EQ(count(), 0u);
}

}  // namespace
}  // namespace softsplice

#include "deploy/cli/bench/chat_completion.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace softsplice::bench {
namespace {

using ::testing::ElementsAre;
using Json = nlohmann::json;

TEST(ChatCompletionTest, MessagesKeepRolesAndParts) {
  v1::GenerateRequest request;
  request.set_max_tokens(5);
  request.set_no_prefix_cache(true);
  request.mutable_sampling()->set_seed(7);
  for (const v1::Role role : {v1::ROLE_SYSTEM, v1::ROLE_USER, v1::ROLE_MODEL}) {
    v1::Message& message = *request.mutable_chat()->add_messages();
    message.set_role(role);
    message.add_parts()->set_text("a");
  }
  v1::Message& user = *request.mutable_chat()->mutable_messages(1);
  user.add_parts()->mutable_media()->set_data("BM1");
  user.add_parts()->mutable_media()->set_data("RIFF");
  const Json body = Json::parse(ChatCompletionBody(request));
  EXPECT_EQ(body["max_tokens"], 5);
  EXPECT_EQ(body["seed"], 7);
  EXPECT_EQ(body["cache_prompt"], false);
  const Json text = {{"type", "text"}, {"text", "a"}};
  const Json picture = {{"type", "image_url"},
                        {"image_url", {{"url", "data:image/bmp;base64,Qk0x"}}}};
  const Json sound = {{"type", "input_audio"},
                      {"input_audio", {{"data", "UklGRg=="}, {"format", "wav"}}}};
  const Json wanted = {{{"role", "system"}, {"content", Json::array({text})}},
                       {{"role", "user"}, {"content", {text, picture, sound}}},
                       {{"role", "assistant"}, {"content", Json::array({text})}}};
  EXPECT_EQ(body["messages"], wanted);
}

TEST(EventStreamTest, EventsAreFoundHoweverTheyAreCut) {
  const std::string stream = ": hello\n\ndata: {\"a\": 1}\r\n\r\nevent: b\ndata: [DONE]\n\nrest";
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    std::vector<std::string> found;
    EventStream events([&](absl::string_view data) { found.emplace_back(data); });
    for (size_t i = 0; i < stream.size(); i += piece) events.Feed(stream.substr(i, piece));
    EXPECT_THAT(found, ElementsAre("{\"a\": 1}", "[DONE]"));
    EXPECT_EQ(events.rest(), "rest");
  }
}

TEST(JsonTest, WhatIsNotThereOrOfAnotherTypeIsNothing) {
  const Json json = {{"a", {{"b", "text"}, {"c", 1.5}, {"d", nullptr}}}};
  EXPECT_EQ(TextAt(json, "/a/b"), "text");
  EXPECT_EQ(NumberAt(json, "/a/c"), 1.5);
  for (const char* pointer : {"/a/d", "/a/0", "/e/f", "/a"}) {
    EXPECT_EQ(TextAt(json, pointer), "");
    EXPECT_EQ(NumberAt(json, pointer), 0);
  }
  EXPECT_EQ(TextAt(Json::parse("{", nullptr, false), "/a/b"), "");
}

}  // namespace
}  // namespace softsplice::bench

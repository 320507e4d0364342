#include "decoder_svc/engine/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/status/error.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

constexpr int kVocabulary = 800;
constexpr int kDim = 160;
constexpr int32_t kBanned[] = {4};
const RequestLimits kLimits{
    .vocabulary_size = kVocabulary, .dim = kDim, .context_length = 40, .banned_tokens = kBanned};

EngineRequest Valid() {
  EngineRequest request;
  request.prompt.tokens = {2, 5, 9, 7};
  return request;
}

TEST(ValidateTest, TakesWhatIsValid) {
  EngineRequest request = Valid();
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
  request.prompt.tokens[1] = request.prompt.tokens[2] = -1;  // under soft tokens
  const auto row = std::make_shared<const std::vector<float>>(kDim, 1.0f);
  const auto rows = std::make_shared<const std::vector<float>>(2 * kDim, 1.0f);
  request.prompt.soft = {{0, 1, row}, {1, 1, row}, {2, 2, rows}};
  request.sampling = {.temperature = 0, .top_k = 0, .top_p = 0, .min_p = 1};
  request.sampling.logit_bias = {{3, -std::numeric_limits<float>::infinity()}, {799, 5}};
  request.alternatives = 20;
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok()) << ValidateRequest(request, kLimits);
}

TEST(ValidateTest, PromptOverTheContext) {
  EngineRequest request = Valid();
  request.prompt.tokens.assign(40, 5);
  EXPECT_TRUE(ValidateRequest(request, kLimits).ok());
  request.prompt.tokens.assign(41, 5);
  const absl::Status status = ValidateRequest(request, kLimits);
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("41 tokens; the context holds 40"));
}

TEST(ValidateTest, CountsBansByToken) {
  constexpr float kBan = -std::numeric_limits<float>::infinity();
  EngineRequest request = Valid();
  for (int id = 0; id + 1 < kVocabulary; ++id) request.sampling.logit_bias.emplace_back(id, kBan);
  request.sampling.logit_bias.emplace_back(0, kBan);  // as many as there are tokens, one left
  EXPECT_TRUE(ValidateOptions(request, kLimits).ok());
  request.sampling.logit_bias.back() = {kVocabulary - 1, -3e38f};  // finite: no ban
  EXPECT_TRUE(ValidateOptions(request, kLimits).ok());
  request.sampling.logit_bias.back() = {kVocabulary - 1, kBan};
  EXPECT_EQ(ValidateOptions(request, kLimits).code(), absl::StatusCode::kInvalidArgument);
  request.sampling.logit_bias.erase(request.sampling.logit_bias.begin() + kBanned[0]);
  EXPECT_EQ(ValidateOptions(request, kLimits).code(), absl::StatusCode::kInvalidArgument)
      << "the model's own ban counts";
}

TEST(ValidateTest, NamesTheFieldTheValueAndTheLimit) {
  using Change = std::function<void(EngineRequest&)>;
  const auto nan = std::numeric_limits<float>::quiet_NaN();
  const auto values = [](int count, float value = 0) {
    return std::make_shared<const std::vector<float>>(count * kDim, value);
  };
  const std::vector<std::pair<Change, std::string>> cases = {
      {[](auto& r) { r.prompt.tokens.clear(); }, "empty"},
      {[](auto& r) { r.prompt.tokens[1] = kVocabulary; }, "id 800; ids go from 0 to 799"},
      {[](auto& r) { r.prompt.tokens[2] = -1; }, "token 2 has id -1"},
      {[&](auto& r) {
         r.prompt.soft = {{3, 2, values(2)}};
       },
       "soft tokens at 3, 2 rows"},
      {[&](auto& r) {
         r.prompt.soft = {{-1, 2, values(2)}};
       },
       "soft tokens at -1"},
      {[&](auto& r) {
         r.prompt.soft = {{1, 0, values(0)}};
       },
       "0 rows"},
      {[&](auto& r) {
         r.prompt.soft = {{1, std::numeric_limits<int>::max(), values(1)}};
       },
       "2147483647 rows"},
      {[&](auto& r) {
         r.prompt.soft = {{0, 2, values(2)}, {1, 1, values(1)}};
       },
       "soft tokens at 1"},
      {[&](auto& r) {
         r.prompt.soft = {{0, 2, values(1)}};
       },
       "160 values; 2 rows of width 160"},
      {[&](auto& r) {
         r.prompt.soft = {{0, 2, values(3)}};
       },
       "480 values; 2 rows of width 160 have 320"},
      {[&](auto& r) {
         r.prompt.soft = {{0, 1, std::make_shared<const std::vector<float>>(kDim + 1)}};
       },
       "161 values"},
      {[&](auto& r) {
         r.prompt.soft = {{0, 1, nullptr}};
       },
       "0 values"},
      {[&](auto& r) {
         r.prompt.soft = {{0, 1, values(1, nan)}};
       },
       "not a finite number"},
      {[](auto& r) { r.sampling.temperature = -1; }, "sampling.temperature is -1"},
      {[&](auto& r) { r.sampling.temperature = nan; }, "sampling.temperature is nan"},
      {[](auto& r) { r.sampling.top_k = -1; }, "sampling.top_k is -1"},
      {[](auto& r) { r.sampling.top_p = 1.5; }, "sampling.top_p is 1.5; must be from 0 to 1"},
      {[](auto& r) { r.sampling.min_p = -0.1f; }, "sampling.min_p"},
      {[](auto& r) { r.sampling.repetition_penalty = 0; }, "sampling.repetition_penalty"},
      {[&](auto& r) { r.sampling.frequency_penalty = nan; }, "sampling.frequency_penalty"},
      {[](auto& r) { r.sampling.presence_penalty = 1e9; }, "sampling.presence_penalty"},
      {[](auto& r) {
         r.sampling.logit_bias = {{kVocabulary, 1}};
       },
       "logit_bias for id 800"},
      {[&](auto& r) {
         r.sampling.logit_bias = {{1, nan}};
       },
       "must be a number or -infinity"},
      {[](auto& r) {
         for (int id = 0; id < kVocabulary; ++id) {
           r.sampling.logit_bias.emplace_back(id, -std::numeric_limits<float>::infinity());
         }
       },
       "bans every token"},
      {[](auto& r) {
         r.sampling.logit_bias = {{1, std::numeric_limits<float>::infinity()},
                                  {1, -std::numeric_limits<float>::infinity()}};
       },
       "logit_bias of id 1 is inf; must be a number or -infinity"},
      {[](auto& r) {
         r.sampling.logit_bias.assign(kVocabulary + 1, {5, 1.0f});
       },
       "logit_bias has 801 entries; at most 800 are taken"},
      {[](auto& r) { r.max_tokens = -1; }, "max_tokens is -1"},
      {[](auto& r) { r.alternatives = 21; }, "logprobs is 21; must be from 0 to 20"},
  };
  for (const auto& [change, message] : cases) {
    EngineRequest request = Valid();
    change(request);
    const absl::Status status = ValidateRequest(request, kLimits);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_NE(GetErrorDetail(status).field, "") << message;
  }
}

}  // namespace
}  // namespace softsplice

// What requests to the decoder service leave in its metrics.
#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

class DecoderMetricsTest : public DecoderService {
 protected:
  // Each of `lines`, without "softsplice_", is among the metrics.
  void ExpectLines(const std::vector<std::string>& lines) {
    const std::string text = metrics_.Text();
    for (const std::string& line : lines) {
      EXPECT_THAT(text, HasSubstr("\nsoftsplice_" + line + "\n"));
    }
  }
};

TEST_F(DecoderMetricsTest, CountAnAnswer) {
  engine_.script = {10, 11, 12};
  const Answer answer = Generate(Hello());
  ASSERT_TRUE(answer.status.ok());
  ExpectLines({
      "requests_total{code=\"OK\",method=\"Generate\"} 1",
      "queue_seconds_count{method=\"Generate\"} 1",
      "time_to_first_token_seconds_count{modality=\"text\"} 1",
      "prefill_seconds_count{modality=\"text\"} 1",
      "inter_token_seconds_count{modality=\"text\"} 2",
      "time_per_output_token_seconds_count{modality=\"text\"} 1",
      absl::StrCat("prompt_tokens_total ", answer.started().prompt_tokens()),
      "cached_prompt_tokens_total 0",
      "output_tokens_total{channel=\"answer\"} 3",
      "output_tokens_total{channel=\"thought\"} 0",
      "prompt_tokens_count 1",
      "output_tokens_sum 3",
      "finished_total{reason=\"stop\"} 1",
  });
}

TEST_F(DecoderMetricsTest, TellChannelsAndReasonsApart) {
  const std::vector<int32_t> thought = {tokenizer_.Find("<|channel>"), 20, 21,
                                        tokenizer_.Find("<channel|>")};
  engine_.script = thought;
  engine_.script.push_back(10);
  engine_.finish = EngineFinish::kMaxTokens;
  const Answer answer = Generate(Hello());
  ASSERT_TRUE(answer.status.ok());
  const int thoughts = static_cast<int>(answer.finished().usage().thought_tokens());
  EXPECT_GT(thoughts, 0);
  ExpectLines({absl::StrCat("output_tokens_total{channel=\"thought\"} ", thoughts),
               absl::StrCat("output_tokens_total{channel=\"answer\"} ", 5 - thoughts),
               "finished_total{reason=\"max_tokens\"} 1", "finished_total{reason=\"stop\"} 0"});
}

TEST_F(DecoderMetricsTest, TellModalitiesApart) {
  engine_.script = {10};
  encoder_.segments = {5};
  const std::string picture = "parts { media { data: 'bytes' } }";
  const std::string sound = "parts { media { data: 'RIFF    WAVE' mime_type: 'audio/wav' } }";
  for (const std::string& parts : {picture, sound, picture + sound, picture + picture}) {
    const Answer answer =
        Generate(Parse("chat { messages { role: ROLE_USER " + parts + "parts { text: 'Hi' } } }"));
    ASSERT_TRUE(answer.status.ok()) << answer.status;
  }
  ExpectLines({"time_to_first_token_seconds_count{modality=\"image\"} 2",
               "time_to_first_token_seconds_count{modality=\"audio\"} 1",
               "time_to_first_token_seconds_count{modality=\"mixed\"} 1",
               "time_to_first_token_seconds_count{modality=\"text\"} 0"});
}

TEST_F(DecoderMetricsTest, CountMediaThatWereEncoded) {
  engine_.script = {10};
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        FakeEncoderService::Writer* writer) {
    if (encoder_.calls == 1) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    return encoder_.Good(*request, writer);
  };
  ASSERT_TRUE(Generate(WithPicture()).status.ok());
  ASSERT_TRUE(Generate(WithPicture()).status.ok());  // its rows are known
  v1::CountTokensRequest count;
  *count.mutable_chat() = WithPicture().chat();
  v1::CountTokensResponse counted;
  ASSERT_TRUE(Count(count, &counted).ok());  // asks for no rows
  ExpectLines(
      {"encode_wait_seconds_count{kind=\"image\"} 1", "encode_wait_seconds_count{kind=\"audio\"} 0",
       "encoder_retries_total{reason=\"away\"} 1", "encoder_retries_total{reason=\"full\"} 0"});
}

TEST_F(DecoderMetricsTest, CountRefusals) {
  engine_.reserve_error = MakeError(absl::StatusCode::kResourceExhausted, "full",
                                    {.reason = "QUEUE_FULL", .retry_after = absl::Seconds(1)});
  EXPECT_FALSE(Generate(Hello()).status.ok());
  ExpectLines({"requests_total{code=\"RESOURCE_EXHAUSTED\",method=\"Generate\"} 1",
               "requests_rejected_total{reason=\"queue_full\"} 1",
               "time_to_first_token_seconds_count{modality=\"text\"} 0", "prompt_tokens_total 0"});
}

TEST_F(DecoderMetricsTest, TellWhatTheDecoderIsLike) {
  const Metrics::Source figures =
      AddDecoderFigures(metrics_, context_, /*queue_capacity=*/9, absl::Seconds(3));
  const auto place = engine_.Reserve(Priority::kNormal, absl::InfiniteDuration());
  ASSERT_TRUE(place.ok());
  engine_.cache = {.missed_new = 1,
                   .missed_evicted = 2,
                   .missed_window = 3,
                   .evicted_blocks = 4,
                   .evicted_resume_points = 5,
                   .resume_points = 6};
  ExpectLines({"prefix_cache_missed_tokens_total{reason=\"new\"} 1",
               "prefix_cache_missed_tokens_total{reason=\"evicted\"} 2",
               "prefix_cache_missed_tokens_total{reason=\"window\"} 3",
               "prefix_cache_evictions_total{kind=\"block\"} 4",
               "prefix_cache_evictions_total{kind=\"resume_point\"} 5",
               "prefix_cache_resume_points 6"});
  ExpectLines({"requests_waiting 1", "requests_running 0", "queue_capacity 9",
               "model_load_seconds 3", "sessions 0", "kv_bytes{state=\"used\"} 0",
               "kv_bytes{state=\"cached\"} 0", "encoder_targets{state=\"healthy\"} 1",
               "encoder_targets{state=\"away\"} 0"});
  encoder_server_.Stop();
  bool away = false;
  for (int i = 0; i < 1000 && !away; ++i) {
    away = pool_.targets()[0].state == v1::ENCODER_STATE_AWAY;
    if (!away) absl::SleepFor(absl::Milliseconds(10));
  }
  ExpectLines({"encoder_targets{state=\"healthy\"} 0", "encoder_targets{state=\"away\"} 1"});
}

TEST(DecoderSteps, AreTimedByWhatTheyRead) {
  Metrics metrics;
  const DecoderMetrics decoder(metrics);
  decoder.OnStep({.rows = 40, .prompt_rows = 33, .took = absl::Milliseconds(300)});
  decoder.OnStep({.rows = 7, .took = absl::Milliseconds(30)});
  decoder.OnStep({.rows = 7, .took = absl::Milliseconds(30)});
  decoder.OnStep({.status = absl::InternalError("gone"), .rows = 7});
  const std::string text = metrics.Text();
  for (const char* line :
       {"engine_step_seconds_count{stage=\"prefill\"} 1",
        "engine_step_seconds_count{stage=\"decode\"} 2", "batch_rows_sum{stage=\"prefill\"} 40",
        "batch_rows_sum{stage=\"decode\"} 14", "device_errors_total{kind=\"device_error\"} 1"}) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat("\nsoftsplice_", line, "\n")));
  }
}

}  // namespace
}  // namespace softsplice

// What the pool makes of an encoder's answers.
#include "decoder_svc/encoder_pool/encoder_pool.h"

#include <limits>

#include "common/server/status.h"
#include "common/status/error.h"
#include "common/time/steady.h"
#include "tests/decoder_svc/encoder_pool/pool_fixture.h"

namespace softsplice {
namespace {

using testing::HasSubstr;

TEST_F(Pool, BringsAllRows) {
  const auto pool = MakePool({address_});
  const auto medium = Encode(*pool);
  ASSERT_TRUE(medium.ok()) << medium.status();
  EXPECT_EQ(medium->header.rows(), 5u);
  ASSERT_EQ(medium->runs.size(), 1u);
  ASSERT_EQ(medium->runs[0].values->size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ((*medium->runs[0].values)[i], i / 4);
  EXPECT_GT(medium->encode, absl::ZeroDuration());
  EXPECT_EQ(pool->fingerprint(), encoder_.fingerprint);
}

TEST_F(Pool, PassesTheJobOn) {
  std::string seen;
  encoder_.encode = [&](grpc::ServerContext* context, const v1::EncodeImageRequest* request,
                        Writer* writer) {
    const auto header = [&](const char* name) {
      const auto found = context->client_metadata().find(name);
      return found == context->client_metadata().end()
                 ? std::string("none")
                 : std::string(found->second.data(), found->second.size());
    };
    const auto left = absl::FromChrono(context->deadline()) - absl::Now();
    seen = request->data() + " " + request->mime_type() + " " +
           std::to_string(request->max_soft_tokens()) + " " + header("x-request-id") + " " +
           header("traceparent") + " " +
           (left > absl::Seconds(5) && left < absl::Seconds(7) ? "in time" : "another time");
    return encoder_.Good(*request, writer);
  };
  const auto pool = MakePool({address_});
  const auto medium = Start(*pool, {.wanted = {.header_only = true},
                                    .data = "bytes",
                                    .mime_type = "image/png",
                                    .max_soft_tokens = 140,
                                    .deadline = SteadyNow() + absl::Seconds(6),
                                    .request_id = "id-1",
                                    .traceparent = "trace"})
                          .result.get();
  ASSERT_TRUE(medium.ok()) << medium.status();
  ASSERT_EQ(medium->runs.size(), 1u);
  EXPECT_EQ(medium->runs[0].rows, 5);
  EXPECT_EQ(medium->runs[0].values, nullptr);
  EXPECT_EQ(seen, "bytes image/png 140 id-1 trace in time");
}

TEST_F(Pool, BringsTheRowsOfASoundWithItsSegments) {
  encoder_.segments = {2, 3};
  encoder_.encode_audio = [&](grpc::ServerContext* context, const v1::EncodeAudioRequest* request,
                              FakeEncoderService::AudioWriter* writer) {
    EXPECT_EQ(request->data(), "bytes");
    EXPECT_EQ(request->mime_type(), "audio/wav");
    EXPECT_EQ(context->client_metadata().count("x-request-id"), 1u);
    return encoder_.Good(*request, writer);
  };
  const auto pool = MakePool({address_});
  std::vector<EncodedMedium> so_far;
  EncodeJob job{.wanted = {.modality = v1::MODALITY_AUDIO},
                .data = "bytes",
                .mime_type = "audio/wav",
                .on_runs = [&](const EncodedMedium& medium) { so_far.push_back(medium); }};
  auto medium = Start(*pool, job).result.get();
  ASSERT_TRUE(medium.ok()) << medium.status();
  EXPECT_EQ(medium->header.modality(), v1::MODALITY_AUDIO);
  ASSERT_EQ(medium->header.audio().segments_size(), 2);
  EXPECT_EQ(medium->header.audio().segments(1).first_row(), 2u);
  ASSERT_EQ(medium->runs.size(), 2u);
  EXPECT_EQ(*medium->runs[0].values, (std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1}));
  EXPECT_EQ(*medium->runs[1].values, (std::vector<float>{2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4}));
  EXPECT_NE(medium->runs[0].name, medium->runs[1].name);
  ASSERT_EQ(so_far.size(), 1u) << "not with the last one, whose checksum comes";
  ASSERT_EQ(so_far[0].runs.size(), 1u);
  EXPECT_EQ(so_far[0].runs[0].name, medium->runs[0].name);
  EXPECT_EQ(so_far[0].header.rows(), 5u);
  job.wanted.header_only = true;
  medium = Start(*pool, job).result.get();
  ASSERT_TRUE(medium.ok()) << medium.status();
  ASSERT_EQ(medium->runs.size(), 2u);
  EXPECT_EQ(medium->runs[1].rows, 3);
  EXPECT_EQ(medium->runs[1].values, nullptr);
  EXPECT_EQ(medium->header.rows(), 5u);
}

TEST_F(Pool, RefusesSoundsWhoseSegmentsContradictTheRows) {
  const auto pool = MakePool({address_});
  encoder_.segments = {2, 2};
  absl::Status status = EncodeSound(*pool).status();
  EXPECT_EQ(GetErrorDetail(status).reason, "BAD_ENCODER_ANSWER") << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("segments end at row 4; header.rows is 5"));
  // A picture where a sound was asked for.
  encoder_.segments.clear();
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter* writer) {
    auto header = encoder_.Header<v1::EncodeAudioResponse>();
    header.mutable_header()->set_modality(v1::MODALITY_IMAGE);
    writer->Write(header);
    return grpc::Status::OK;
  };
  status = EncodeSound(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("MODALITY_IMAGE where MODALITY_AUDIO"));
}

TEST_F(Pool, StopsWhenTheHeaderIsRefused) {
  std::atomic<bool> cancelled = false;
  encoder_.encode = [&](grpc::ServerContext* context, const v1::EncodeImageRequest*,
                        Writer* writer) {
    writer->Write(encoder_.Header());
    cancelled = UntilCancelled(context).error_code() == grpc::StatusCode::CANCELLED;
    return grpc::Status::CANCELLED;
  };
  const auto pool = MakePool({address_});
  const absl::Status refusal = MakeError(absl::StatusCode::kOutOfRange, "too many",
                                         {.reason = "PROMPT_TOO_LONG", .field = "x"});
  EncodeJob job{.data = "picture", .on_header = [&](const v1::SoftTokensHeader& header) {
                  EXPECT_EQ(header.rows(), 5u);
                  return refusal;
                }};
  EXPECT_EQ(Start(*pool, job).result.get().status(), refusal);
  EXPECT_TRUE(Eventually([&] { return cancelled.load(); }));
  // It did as it was told.
  EXPECT_TRUE(IsHealthy(*pool));
  EXPECT_EQ(encoder_.calls, 1);
}

TEST_F(Pool, RetriesASoundAndPassesItsErrorsOn) {
  std::atomic<int> tries = 0;
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest* request,
                              FakeEncoderService::AudioWriter* writer) {
    if (++tries == 1) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    return encoder_.Good(*request, writer);
  };
  const auto pool = MakePool({address_});
  EXPECT_TRUE(EncodeSound(*pool).ok());
  EXPECT_EQ(tries, 2);
  const absl::Status no_tower =
      MakeError(absl::StatusCode::kFailedPrecondition, "this encoder has no audio tower",
                {.reason = "NO_TOWER"});
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter*) { return ToGrpcStatus(no_tower); };
  EXPECT_EQ(EncodeSound(*pool).status(), no_tower);
  // It still serves pictures.
  EXPECT_TRUE(Encode(*pool).ok());
  // One that has no such call at all.
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter*) {
    return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "no such method");
  };
  const absl::Status status = EncodeSound(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(GetErrorDetail(status).reason, "ENCODER_FAILED");
}

TEST_F(Pool, RefusesBrokenAnswers) {
  using Send = std::function<void(FakeEncoderService&, Writer*)>;
  const std::vector<std::pair<std::string, Send>> cases = {
      {"does not begin with a header", [](auto& e, Writer* w) { w->Write(e.Rows(0, 5)); }},
      {"a second header",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         w->Write(e.Header());
       }},
      {"4 rows; the header promised 5",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         w->Write(e.Rows(0, 4));
         w->Write(e.Summary(4));
       }},
      {"more than the 5 rows",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         w->Write(e.Rows(0, 6));
         w->Write(e.Summary(6));
       }},
      {"row 3 where row 2 was due",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         w->Write(e.Rows(0, 2));
         w->Write(e.Rows(3, 2));
       }},
      {"a chunk of 15 bytes",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         auto rows = e.Rows(0, 1);
         rows.mutable_rows()->mutable_data()->pop_back();
         w->Write(rows);
       }},
      {"the checksum is",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         auto rows = e.Rows(0, 5);
         (*rows.mutable_rows()->mutable_data())[3] ^= 1;
         w->Write(rows);
         w->Write(e.Summary(5));
       }},
      {"ended before the summary",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         w->Write(e.Rows(0, 5));
       }},
      {"a message after the summary",
       [](auto& e, Writer* w) {
         e.Good(v1::EncodeImageRequest(), w);
         w->Write(e.Rows(0, 1));
       }},
      {"an empty message",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         w->Write({});
       }},
      {"not finite",
       [](auto& e, Writer* w) {
         w->Write(e.Header());
         const float nan = std::numeric_limits<float>::quiet_NaN();
         auto rows = e.Rows(0, 5);
         std::memcpy(rows.mutable_rows()->mutable_data()->data() + 8, &nan, sizeof(nan));
         w->Write(rows);
         auto summary = e.Summary(0);
         summary.mutable_summary()->set_crc32c(Crc32c(rows.rows().data()));
         w->Write(summary);
       }},
      {"is inf, not finite",
       [](auto& e, Writer* w) {
         auto header = e.Header();
         header.mutable_header()->set_data_type(v1::DATA_TYPE_F16);
         w->Write(header);
         // Infinities in F16: what a row that is too large becomes.
         v1::EncodeImageResponse rows;
         for (int i = 0; i < 20; ++i) rows.mutable_rows()->mutable_data()->append("\0\x7c", 2);
         w->Write(rows);
         v1::EncodeImageResponse summary;
         summary.mutable_summary()->set_crc32c(Crc32c(rows.rows().data()));
         w->Write(summary);
       }},
      {"2147483647 rows; one medium has 1048576 at most",
       [](auto& e, Writer* w) {
         auto header = e.Header();
         header.mutable_header()->set_rows(2147483647u);
         w->Write(header);
       }},
      {"4294967295 rows; one medium has 1048576 at most",
       [](auto& e, Writer* w) {
         auto header = e.Header();
         header.mutable_header()->set_rows(4294967295u);
         w->Write(header);
       }},
      {"header.rows is 0",
       [](auto& e, Writer* w) {
         auto header = e.Header();
         header.mutable_header()->set_rows(0);
         w->Write(header);
       }},
  };
  const auto pool = MakePool({address_});
  for (const auto& [text, send] : cases) {
    encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer* writer) {
      send(encoder_, writer);
      return grpc::Status::OK;
    };
    const absl::Status status = Encode(*pool).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << text << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
    EXPECT_EQ(GetErrorDetail(status).reason, "BAD_ENCODER_ANSWER");
  }
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* r, Writer* writer) {
    return encoder_.Good(*r, writer);
  };
  EXPECT_TRUE(Encode(*pool).ok());
}

TEST_F(Pool, RefusesRowsOfAnotherModel) {
  const auto pool = MakePool({address_});
  // The server says one thing and does another, as one that was replaced a moment ago.
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer* writer) {
    auto header = encoder_.Header();
    header.mutable_header()->set_encoder_fingerprint(std::string(32, 'x'));
    writer->Write(header);
    return grpc::Status::OK;
  };
  absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status).reason, "FOREIGN_ENCODER");
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer* writer) {
    auto header = encoder_.Header();
    header.mutable_header()->set_dim(8);
    writer->Write(header);
    return grpc::Status::OK;
  };
  status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("its rows have 8 numbers, the decoder's width is 4"));
}

TEST_F(Pool, NamesAnEncoderOfAnotherModel) {
  encoder_.dim = 8;
  const auto pool = MakePool({address_});
  EXPECT_FALSE(IsHealthy(*pool));
  const absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("its width is 8, the decoder's 4"));
  EXPECT_EQ(encoder_.calls, 0);
  // The right one comes to the same place.
  encoder_.dim = 4;
  EXPECT_TRUE(Eventually([&] { return IsHealthy(*pool); }));
  EXPECT_TRUE(Encode(*pool).ok());
}

TEST_F(Pool, PassesAnEncodersErrorOn) {
  const absl::Status cause = MakeError(absl::StatusCode::kInvalidArgument, "not a picture",
                                       {.reason = "INVALID_MEDIA", .field = "data"});
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
    return ToGrpcStatus(cause);
  };
  const auto pool = MakePool({address_});
  EXPECT_EQ(Encode(*pool).status(), cause);
  EXPECT_EQ(encoder_.calls, 1);
  EXPECT_TRUE(IsHealthy(*pool));
}

TEST_F(Pool, TurnsUnknownErrorsIntoInternal) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
    return grpc::Status(grpc::StatusCode::UNKNOWN, "oops");
  };
  const auto pool = MakePool({address_});
  const absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address_ + " failed: oops"));
}

TEST_F(Pool, TriesOnceMoreWhenAnEncoderIsUnavailable) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest* request,
                        Writer* writer) {
    if (encoder_.calls == 1) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
    return encoder_.Good(*request, writer);
  };
  std::vector<Blame> retries;
  const auto pool = MakePool({address_}, {.on_retry = [&](Blame why) { retries.push_back(why); }});
  EXPECT_TRUE(Encode(*pool).ok());
  EXPECT_EQ(encoder_.calls, 2);
  EXPECT_THAT(retries, testing::ElementsAre(Blame::kAway));
}

TEST_F(Pool, TellsOfNoRetryWhereThereIsNone) {
  encoder_.encode = [&](grpc::ServerContext*, const v1::EncodeImageRequest*, Writer*) {
    return grpc::Status(grpc::StatusCode::INTERNAL, "oops");
  };
  std::atomic<int> retries = 0;
  const auto pool = MakePool({address_}, {.on_retry = [&](Blame) { ++retries; }});
  EXPECT_FALSE(Encode(*pool).ok());
  EXPECT_EQ(encoder_.calls, 1);
  EXPECT_EQ(retries, 0);
}

TEST_F(Pool, SaysWhichEncoderIsDownAndUsesItAgain) {
  server_.Stop();
  const auto pool = MakePool({address_});
  EXPECT_FALSE(IsHealthy(*pool));
  const absl::Status status = Encode(*pool).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(address_ + " is not available"));
  EXPECT_EQ(GetErrorDetail(status).reason, "ENCODER_UNAVAILABLE");
  EXPECT_GT(GetErrorDetail(status).retry_after, absl::ZeroDuration());

  FakeEncoderServer back(address_, &encoder_);
  EXPECT_TRUE(Eventually([&] { return IsHealthy(*pool); }));
  EXPECT_TRUE(Encode(*pool).ok());
}

TEST_F(Pool, RecoversFromADeathWithoutWaitingForAProbe) {
  const auto pool = MakePool({address_});
  ASSERT_TRUE(Encode(*pool).ok());
  for (int i = 0; i < 3; ++i) {
    server_.Stop();
    EXPECT_EQ(Encode(*pool).status().code(), absl::StatusCode::kUnavailable);
    FakeEncoderServer back(address_, &encoder_);
    EXPECT_TRUE(Eventually([&] { return Encode(*pool).ok(); }));
  }
}

TEST_F(Pool, DoesNotWaitForASlowEncoder) {
  encoder_.encode = [](grpc::ServerContext* context, const v1::EncodeImageRequest*, Writer*) {
    return UntilCancelled(context);
  };
  auto pool = MakePool({address_}, {.encode_limit = absl::Milliseconds(200)});
  absl::Status status = Encode(*pool).status();
  // The limit is ours: no deadline of the caller's has passed.
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(GetErrorDetail(status).reason, "ENCODER_TOO_SLOW");
  EXPECT_GT(GetErrorDetail(status).retry_after, absl::ZeroDuration());

  pool = MakePool({address_});
  const absl::Duration start = SteadyNow();
  status = Start(*pool, {.data = "x", .deadline = start + absl::Milliseconds(200)})
               .result.get()
               .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(GetErrorDetail(status).reason, "DEADLINE_EXCEEDED");
  EXPECT_LT(SteadyNow() - start, absl::Seconds(10));
  EXPECT_TRUE(IsHealthy(*pool));
}

// The limit is for what is missing, not for all of a long recording.
TEST_F(Pool, WaitsForASoundAsLongAsItsSegmentsCome) {
  encoder_.segments = {2, 2, 1};
  encoder_.encode_audio = [&](grpc::ServerContext*, const v1::EncodeAudioRequest*,
                              FakeEncoderService::AudioWriter* writer) {
    using Response = v1::EncodeAudioResponse;
    writer->Write(encoder_.Header<Response>());
    for (const uint32_t row : {0u, 2u, 4u}) {
      absl::SleepFor(absl::Milliseconds(1200));
      writer->Write(encoder_.Rows<Response>(row, row < 4 ? 2 : 1));
    }
    writer->Write(encoder_.Summary<Response>(5));
    return grpc::Status::OK;
  };
  const auto pool = MakePool({address_}, {.encode_limit = absl::Seconds(3)});
  const auto medium =
      Start(*pool, {.wanted = {.modality = v1::MODALITY_AUDIO}, .data = "x"}).result.get();
  EXPECT_TRUE(medium.ok()) << medium.status();
}

TEST_F(Pool, EndsAStreamThatNeverEnds) {
  encoder_.encode = [&](grpc::ServerContext* context, const v1::EncodeImageRequest* request,
                        Writer* writer) {
    encoder_.Good(*request, writer);
    return UntilCancelled(context);
  };
  const auto pool = MakePool({address_}, {.encode_limit = absl::Milliseconds(200)});
  EXPECT_EQ(GetErrorDetail(Encode(*pool).status()).reason, "ENCODER_TOO_SLOW");
}

TEST_F(Pool, CancelReachesTheEncoder) {
  std::atomic<bool> cancelled = false;
  encoder_.encode = [&](grpc::ServerContext* context, const v1::EncodeImageRequest*, Writer*) {
    const grpc::Status status = UntilCancelled(context);
    cancelled = true;
    return status;
  };
  const auto pool = MakePool({address_});
  Pending pending = Start(*pool);
  EXPECT_TRUE(Eventually([&] { return encoder_.calls == 1; }));
  EXPECT_EQ(pool->targets()[0].in_flight, 1);
  pending.call->Cancel();
  EXPECT_EQ(pending.result.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(Eventually([&] { return cancelled.load(); }));
  EXPECT_EQ(pool->targets()[0].in_flight, 0);
  pending.call->Cancel();
}

}  // namespace
}  // namespace softsplice

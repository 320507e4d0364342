// A pool over real sockets, with encoders that do as the test says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "decoder_svc/encoder_pool/encoder_pool.h"
#include "tests/decoder_svc/encoder_pool/fake_encoder.h"

namespace softsplice {

using Writer = FakeEncoderService::Writer;

inline const Logger kQuiet(LogFormat::kText, LogLevel::kError);

struct Pending {
  std::shared_ptr<EncoderPool::Call> call;
  std::future<absl::StatusOr<EncodedMedium>> result;
};

inline Pending Start(EncoderPool& pool, EncodeJob job = {.data = "picture", .request_id = "id"}) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<EncodedMedium>>>();
  Pending pending;
  pending.result = promise->get_future();
  pending.call = pool.Encode(std::move(job), [promise](absl::StatusOr<EncodedMedium> medium) {
    promise->set_value(std::move(medium));
  });
  return pending;
}

inline absl::StatusOr<EncodedMedium> Encode(EncoderPool& pool) { return Start(pool).result.get(); }
inline absl::StatusOr<EncodedMedium> EncodeSound(EncoderPool& pool) {
  return Start(pool, {.wanted = {.modality = v1::MODALITY_AUDIO}, .data = "sound"}).result.get();
}

// The rest of `options` is kept.
inline std::unique_ptr<EncoderPool> MakePool(const std::vector<std::string>& addresses,
                                             EncoderPoolOptions options = {
                                                 .encode_limit = absl::Seconds(20)}) {
  for (const std::string& address : addresses) {
    options.encoders.push_back(*ParseEncoderName(address));
  }
  options.dim = 4;
  auto pool = std::make_unique<EncoderPool>(std::move(options), kQuiet);
  pool->WaitForFirstAnswers(absl::Seconds(10));
  return pool;
}

inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000 && !condition(); ++i) absl::SleepFor(absl::Milliseconds(10));
  return condition();
}

inline bool IsHealthy(const EncoderPool& pool, size_t index = 0) {
  return pool.targets()[index].state == v1::ENCODER_STATE_HEALTHY;
}

inline grpc::Status UntilCancelled(grpc::ServerContext* context) {
  while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(2));
  return grpc::Status::CANCELLED;
}

class Pool : public testing::Test {
 protected:
  const std::string address_ = TestAddress("pool");
  FakeEncoderService encoder_;
  FakeEncoderServer server_{address_, &encoder_};
};

// Two encoders.
class Pair : public Pool {
 protected:
  const std::string other_address_ = TestAddress("other");
  FakeEncoderService other_;
  FakeEncoderServer other_server_{other_address_, &other_};
};

}  // namespace softsplice

// What a request's media occupy is counted while it is there.
#include <atomic>
#include <thread>

#include "common/time/steady.h"
#include "tests/decoder_svc/server/decoder_service_fixture.h"

namespace softsplice {
namespace {

class DecoderBudget : public DecoderService {
 protected:
  // An encoder that goes on when it is told to.
  DecoderBudget() {
    engine_.script = {10};
    encoder_.encode = [this](grpc::ServerContext*, const v1::EncodeImageRequest*,
                             FakeEncoderService::Writer* writer) {
      WaitFor(1);
      writer->Write(encoder_.Header());
      WaitFor(2);
      writer->Write(encoder_.Rows(0, encoder_.rows));
      writer->Write(encoder_.Summary(encoder_.rows));
      return grpc::Status::OK;
    };
  }
  void WaitFor(int step) const {
    while (step_ < step) absl::SleepFor(absl::Milliseconds(1));
  }
  // Whether calls come to occupy so many bytes.
  bool Occupied(uint64_t bytes) const {
    const absl::Duration end = SteadyNow() + absl::Seconds(30);
    while (border_.live_bytes() != bytes && SteadyNow() < end) {
      absl::SleepFor(absl::Milliseconds(1));
    }
    return border_.live_bytes() == bytes;
  }
  // What they occupy while the encoder looks at a picture of so many bytes, and then with its rows.
  uint64_t Ask(size_t picture) {
    step_ = 0;
    const int calls = encoder_.calls;
    v1::GenerateRequest request = WithPicture();
    request.mutable_chat()->mutable_messages(0)->mutable_parts(0)->mutable_media()->set_data(
        std::string(picture, 'p'));
    std::thread client([&] { EXPECT_TRUE(Generate(request).status.ok()); });
    while (encoder_.calls == calls) absl::SleepFor(absl::Milliseconds(1));
    const uint64_t sent = border_.live_bytes();
    step_ = 1;
    EXPECT_TRUE(Occupied(sent + uint64_t{encoder_.rows} * encoder_.dim * 8))
        << "float32 on the wire, and as float32";
    step_ = 2;
    client.join();
    EXPECT_TRUE(Occupied(0));
    return sent;
  }

  std::atomic<int> step_ = 0;
};

TEST_F(DecoderBudget, CountsFilesOnTheirWayAndRowsFromTheirHeaderOn) {
  encoder_.rows = kContext / 2;
  const uint64_t small = Ask(200);
  EXPECT_EQ(Ask(900) - small, 2 * 700u) << "the request's and the encoder's";
}

}  // namespace
}  // namespace softsplice

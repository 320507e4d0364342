// Random models of every type are ones that both services load and that give finite numbers.
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "decoder_svc/engine/engine.h"
#include "encoder_svc/encoder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/decoder_svc/engine/sink.h"
#include "tests/random_model/blocks.h"
#include "tests/random_model/model.h"
#include "tests/random_model/write.h"
#include "tests/support/read_file.h"

namespace softsplice::random_model {
namespace {

using softsplice::testing::ReadFile;
using ::testing::HasSubstr;

constexpr int kTokens = 512;

class TempFile {
 public:
  explicit TempFile(const std::string& name)
      : path_(absl::StrCat(::testing::TempDir(), name, ".", getpid(), ".gguf")) {}
  ~TempFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void WriteAll(const std::string& path, absl::StatusOr<Model> model) {
  ASSERT_TRUE(model.ok()) << model.status();
  const uint64_t all = model->Bytes();
  std::atomic<uint64_t> told{0};
  const absl::Status status =
      Write(path, *std::move(model), [&](uint64_t bytes) { told += bytes; });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(told, all);
}

absl::StatusOr<Model> SmallText(absl::string_view type) {
  return TextModel(kSmallText, type, MadeUpVocabulary(kTokens), kTokens);
}

std::vector<std::string> Types() {
  std::vector<std::string> names;
  for (const gguf::TypeInfo& info : gguf::AllTypes()) names.emplace_back(info.name);
  return names;
}

TEST(Blocks, HaveTheDeviationThatIsAskedFor) {
  constexpr float kDeviation = 0.02f;
  constexpr size_t kNumbers = 1 << 18;
  for (const gguf::TypeInfo& info : gguf::AllTypes()) {
    const Blocks blocks(info.type, kDeviation);
    const size_t count = kNumbers / static_cast<size_t>(info.block_elements);
    std::vector<uint8_t> bytes(count * static_cast<size_t>(info.block_bytes)), again = bytes;
    blocks.Fill(absl::MakeSpan(bytes), 7);
    std::vector<float> numbers(count * static_cast<size_t>(info.block_elements));
    gguf::Dequantize(info.type, bytes.data(), numbers.data(), static_cast<int64_t>(kNumbers));
    double sum = 0, squares = 0;
    for (const float x : numbers) {
      sum += x;
      squares += double{x} * x;
    }
    // A code's own mean is half a step at most, of some 4 and more that a deviation has.
    EXPECT_NEAR(sum / kNumbers, 0, kDeviation / 8) << info.name;
    EXPECT_NEAR(std::sqrt(squares / kNumbers), kDeviation, kDeviation / 20) << info.name;
    blocks.Fill(absl::MakeSpan(again), 7);
    EXPECT_EQ(again, bytes) << info.name;
    blocks.Fill(absl::MakeSpan(again), 8);
    EXPECT_NE(again, bytes) << info.name;
  }
}

TEST(RandomModel, TheDecoderLoadsEveryType) {
  std::vector<std::string> types = Types();
  types.emplace_back("Q4_K_M");
  for (const std::string& type : types) {
    SCOPED_TRACE(type);
    const TempFile file("text");
    ASSERT_NO_FATAL_FAILURE(WriteAll(file.path(), SmallText(type)));
    const auto gguf = gguf::File::Open(file.path());
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    const auto engine = Engine::Load(**gguf, {.backend = {.threads = 1}}, {});
    ASSERT_TRUE(engine.ok()) << engine.status();
    EngineRequest request{.max_tokens = 3, .ignore_stop_tokens = true};
    for (int i = 0; i < 40; ++i) request.prompt.tokens.push_back(2 + i * 12);
    request.sampling.temperature = 0;
    const auto sink = std::make_shared<Sink>();
    ASSERT_TRUE((*engine)->Submit(*(*engine)->Reserve(), std::move(request), sink).ok());
    ASSERT_TRUE(sink->Wait().ok()) << sink->result.status();
    ASSERT_EQ(sink->sampled.size(), 3u);
    for (const SampledToken& token : sink->sampled) {
      EXPECT_TRUE(std::isfinite(token.chosen.logprob));
      EXPECT_LT(token.chosen.logprob, -0.01f);  // no token is certain: nothing has run away
    }
  }
}

TEST(RandomModel, TheEncoderLoadsEveryType) {
  for (const std::string& type : Types()) {
    const TempFile file("mmproj");
    ASSERT_NO_FATAL_FAILURE(WriteAll(file.path(), MmprojModel(kSmallMmproj, type)));
    EncoderOptions options{.mmproj_path = file.path()};
    options.backend.threads = 1;
    // Encodes a picture and a sound, whose rows have to be finite.
    const auto encoder = Encoder::Load(options);
    ASSERT_TRUE(encoder.ok()) << type << ": " << encoder.status();
    EXPECT_TRUE((*encoder)->info().has_image_tower && (*encoder)->info().has_audio_tower);
  }
}

// A model of full size, and what is in its layers' matrices in billions of weights.
std::pair<Model, double> FullSize(const TextShape& shape, absl::string_view type) {
  auto model = TextModel(shape, type, MadeUpVocabulary(262144), 262144);
  EXPECT_TRUE(model.ok()) << model.status();
  double weights = 0;
  for (const Tensor& tensor : model->tensors) {
    if (tensor.dims.size() < 2 || tensor.name.rfind("blk.", 0) != 0) continue;
    weights += 1e-9 * static_cast<double>(tensor.dims[0] * tensor.dims[1]);
  }
  return {*std::move(model), weights};
}

TEST(RandomModel, IsAsLargeAsE4B) {
  EXPECT_NEAR(FullSize({}, "BF16").second, 3.945, 0.0005);
  // google's gemma-4-E4B_q4_0-it.gguf has 5154941280 bytes, metadata included.
  EXPECT_NEAR(1e-9 * static_cast<double>(FullSize({}, "Q4_0").first.Bytes()), 5.155, 0.03);
}

// Counted by hand: q and o 0.264, k and v 0.014, the feed-forwards 1.557, and what
// belongs to per-layer embeddings 0.028.
TEST(RandomModel, IsAsLargeAsE2B) {
  const auto [model, weights] = FullSize(kE2BText, "Q4_0");
  EXPECT_NEAR(weights, 1.863, 0.0005);
  // google's gemma-4-E2B_q4_0-it.gguf has 3349516256 bytes, metadata included.
  EXPECT_NEAR(1e-9 * static_cast<double>(model.Bytes()), 3.350, 0.03);
}

TEST(RandomModel, TakesTheVocabularyOfAnotherFile) {
  const std::string demo = "tests/data/demo/demo-text.gguf";
  auto vocabulary = VocabularyOf(demo);
  ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
  const TempFile file("vocabulary");
  ASSERT_NO_FATAL_FAILURE(
      WriteAll(file.path(),
               TextModel(kSmallText, "Q8_0", std::move(vocabulary->metadata), vocabulary->tokens)));
  const auto from = gguf::File::Open(demo), to = gguf::File::Open(file.path());
  ASSERT_TRUE(from.ok() && to.ok());
  for (const char* key : {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}) {
    EXPECT_EQ(**(*from)->StringList(key), **(*to)->StringList(key)) << key;
  }
  EXPECT_EQ(*(*from)->Ints("tokenizer.ggml.token_type"), *(*to)->Ints("tokenizer.ggml.token_type"));
  EXPECT_EQ(*(*from)->String("tokenizer.chat_template"), *(*to)->String("tokenizer.chat_template"));
}

TEST(RandomModel, TheSameModelIsTheSameFile) {
  const TempFile one("one"), two("two");
  WriteAll(one.path(), SmallText("Q4_K_M"));
  WriteAll(two.path(), SmallText("Q4_K_M"));
  EXPECT_TRUE(ReadFile(one.path()) == ReadFile(two.path()));
}

TEST(RandomModel, RefusesWhatThereIsNot) {
  EXPECT_THAT(std::string(SmallText("Q7_0").status().message()), HasSubstr("no type Q7_0"));
  EXPECT_THAT(std::string(MmprojModel(kSmallMmproj, "").status().message()), HasSubstr("Q4_K"));
  TextShape shape = kSmallText;
  shape.layers = 7;
  EXPECT_THAT(std::string(TextModel(shape, "F16", {}, 1).status().message()),
              HasSubstr("7 layers; a multiple of 6"));
  const absl::Status status = Write("/nowhere/x.gguf", *SmallText("F16"), [](uint64_t) {});
  EXPECT_THAT(std::string(status.message()), HasSubstr("/nowhere/x.gguf: No such file"));
}

}  // namespace
}  // namespace softsplice::random_model

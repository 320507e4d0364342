#include "decoder_svc/text/tokenizer.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/decoder_svc/text/vocab_file.h"

namespace softsplice {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Ids = std::vector<int32_t>;

std::string Decode(const Tokenizer& tokenizer, const Ids& ids) {
  std::string text;
  for (const int32_t id : ids) absl::StrAppend(&text, tokenizer.Bytes(id));
  return text;
}

TEST(Tokenizer, GoldensWithSpecials) {
  const auto goldens = ReadJson("tests/data/goldens/tokenize.json")["same"];
  ASSERT_EQ(goldens.size(), 300u);
  for (const auto& golden : goldens) {
    const std::string text = golden["text"];
    EXPECT_EQ(RealTokenizer().Encode(text, true), golden["ids"].get<Ids>()) << text;
  }
}

// llama.cpp without special tokens leaves those of type "control" as text but still takes the
// user-defined ones (channels, tools, quotes), which we don't: where a text has none of these, the
// ids are the same.
TEST(Tokenizer, GoldensWithoutSpecials) {
  int compared = 0;
  const auto goldens = ReadJson("tests/data/goldens/tokenize.json")["same"];
  for (const auto& golden : goldens) {
    const std::string text = golden["text"];
    const auto& expected =
        golden.contains("llama_ids_no_special") ? golden["llama_ids_no_special"] : golden["ids"];
    const Ids ids = expected.get<Ids>();
    const bool injected = std::any_of(ids.begin(), ids.end(),
                                      [](int32_t id) { return RealTokenizer().IsControl(id); });
    if (!injected) {
      EXPECT_EQ(RealTokenizer().Encode(text, false), ids) << text;
      ++compared;
    }
    for (const int32_t id : RealTokenizer().Encode(text, false)) {
      EXPECT_FALSE(RealTokenizer().IsControl(id)) << text << ": " << id;
    }
  }
  EXPECT_GE(compared, 290);
}

TEST(Tokenizer, LlamaCppVocabularyTest) {
  std::ifstream in("tests/data/text/gemma-4-vocab.inp");
  const std::string all((std::istreambuf_iterator<char>(in)), {});
  std::ifstream expected("tests/data/text/gemma-4-vocab.out");
  int compared = 0;
  for (const auto text : absl::StrSplit(all, "\n__ggml_vocab_test__\n")) {
    std::string line;
    if (!std::getline(expected, line)) break;
    Ids ids;
    std::istringstream numbers(line);
    for (int32_t id = 0; numbers >> id;) ids.push_back(id);
    EXPECT_EQ(RealTokenizer().Encode(text, false), ids) << text;
    ++compared;
  }
  EXPECT_GE(compared, 45);
}

TEST(Tokenizer, ControlTokensOfTheRealVocabulary) {
  const Tokenizer& t = RealTokenizer();
  EXPECT_EQ(t.size(), 262144);
  EXPECT_EQ(t.bos(), 2);
  EXPECT_THAT(t.StopTokens(), ElementsAre(1, 50, 106));
  EXPECT_THAT(t.BannedTokens(), ElementsAre(258882, 258883));
  EXPECT_THAT(t.PlaceholderTokens(),
              ElementsAre(t.Find("<|image|>"), t.Find("<|audio|>"), t.Find("<|video|>")));
  for (const char* text : {"<pad>",
                           "<eos>",
                           "<bos>",
                           "<unk>",
                           "<mask>",
                           "<|tool>",
                           "<tool|>",
                           "<|tool_call>",
                           "<tool_call|>",
                           "<|tool_response>",
                           "<tool_response|>",
                           "<|\"|>",
                           "<|think|>",
                           "<|channel>",
                           "<channel|>",
                           "<|turn>",
                           "<turn|>",
                           "<|image>",
                           "<image|>",
                           "<|image|>",
                           "<|audio>",
                           "<audio|>",
                           "<|audio|>",
                           "<|video|>"}) {
    const int32_t id = t.Find(text);
    ASSERT_GE(id, 0) << text;
    EXPECT_TRUE(t.IsControl(id)) << text;
    EXPECT_EQ(t.Bytes(id), text);
    EXPECT_THAT(t.Encode(text, true), ElementsAre(id));
    EXPECT_EQ(Decode(t, t.Encode(text, false)), text);
    for (const int32_t part : t.Encode(absl::StrCat("\n", text, "x"), false)) {
      EXPECT_FALSE(t.IsControl(part)) << text;
    }
  }
  int controls = 0;
  for (int32_t id = 0; id < t.size(); ++id) controls += t.IsControl(id);
  EXPECT_EQ(controls, 24);
  EXPECT_FALSE(t.IsControl(t.Find("<unused0>")));
  EXPECT_FALSE(t.IsControl(t.Find("[multimodal]")));
  EXPECT_FALSE(t.IsControl(-1));
  EXPECT_FALSE(t.IsControl(t.size()));
  EXPECT_EQ(t.Bytes(t.size()), "");
  EXPECT_EQ(t.Find("no such token"), -1);
}

TEST(Tokenizer, Bytes) {
  const Tokenizer& t = RealTokenizer();
  EXPECT_EQ(t.Bytes(t.Find("<0x0A>")), "\n");
  EXPECT_EQ(t.Bytes(t.Find("<0x00>")), absl::string_view("\0", 1));
  EXPECT_EQ(t.Bytes(t.Find("<0xFF>")), "\xFF");
  EXPECT_EQ(t.Bytes(t.Find("\u2581")), " ");
  EXPECT_EQ(t.Bytes(t.Find("\u2581\u2581")), "  ");
  EXPECT_EQ(t.Bytes(t.Find("\u2581the")), " the");
}

TEST(Tokenizer, AnyBytesComeBack) {
  std::mt19937 random(7);
  const Tokenizer& t = RealTokenizer();
  for (int round = 0; round < 2000; ++round) {
    std::string text(random() % 40, '\0');
    for (char& c : text)
      c = static_cast<char>(random() % 3 == 0 ? random() : "a <|\xE2\x96"[random() % 6]);
    // U+2581 itself reads as a space, as everywhere in this family.
    const std::string back = Decode(t, t.Encode(text, false));
    EXPECT_EQ(back, absl::StrJoin(absl::StrSplit(text, "\u2581"), " "));
  }
  EXPECT_THAT(t.Encode("\xC3", false), ElementsAre(t.Find("<0xC3>")));
  EXPECT_EQ(Decode(t, t.Encode("a\xED\xA0\x80z\xC0\x80", false)), "a\xED\xA0\x80z\xC0\x80");
}

TEST(Tokenizer, RunsAreOneText) {
  const Tokenizer& t = RealTokenizer();
  const std::vector<TextRun> runs = {
      {"<|turn>user\n", true}, {"\nHel", false}, {"lo <turn|>", false}, {"<turn|>\n", true}};
  const Ids ids = t.Encode(runs);
  const Ids text = t.Encode("user\n\nHello <turn|>", false);
  EXPECT_EQ(Ids(ids.begin() + 1, ids.begin() + 1 + static_cast<int>(text.size())), text);
  EXPECT_EQ(ids.front(), t.Find("<|turn>"));
  EXPECT_EQ(ids[ids.size() - 2], t.Find("<turn|>"));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), t.Find("<turn|>")), 1);
  // A control token is not put together from the ends of two runs.
  const std::vector<TextRun> halves = {{"<|tu", true}, {"rn>", true}};
  EXPECT_THAT(t.Encode(halves), testing::Not(testing::Contains(t.Find("<|turn>"))));
  EXPECT_THAT(t.Encode(absl::Span<const TextRun>()), IsEmpty());
}

TEST(Tokenizer, LongTextsTakeLinearTime) {
  std::mt19937 random(3);
  std::vector<std::string> texts(6);
  constexpr size_t kBytes = 1 << 20;
  for (size_t i = 0; i < kBytes; ++i) {
    texts[0] += 'a';
    texts[1] += static_cast<char>('a' + random() % 26);
    texts[2] += '\n';
    texts[3] += ' ';
    texts[4] += '<';
    if (i % 3 == 0) texts[5] += "\u4E2D";
  }
  for (const std::string& text : texts) {
    const absl::Time start = absl::Now();
    const Ids ids = RealTokenizer().Encode(text, true);
    // Some 0.3 s in a plain build; a quadratic algorithm would take hours.
    EXPECT_LT(absl::Now() - start, absl::Seconds(30)) << text.substr(0, 10);
    EXPECT_EQ(Decode(RealTokenizer(), ids), text);
  }
}

// Long and short words are merged by different code, which must agree: by the rules, a text is
// tokenised as its parts where no merge crosses.
TEST(Tokenizer, WordsOfAllLengths) {
  const Tokenizer& t = RealTokenizer();
  SmallVocab vocab;
  const int32_t a = vocab.Add("a");
  const int32_t aa = vocab.Add("aa");
  const int32_t aaaa = vocab.Add("aaaa");
  vocab.merges = {"aa aa", "a a"};
  const auto small = vocab.Load();
  ASSERT_TRUE(small.ok()) << small.status();
  for (size_t n = 0; n < 80; ++n) {
    // "aa aa" comes first in rank, so pairs become fours as soon as there are two of them.
    Ids expected;
    size_t pairs = n / 2;
    for (size_t i = 0; i < pairs / 2; ++i) expected.push_back(aaaa);
    if (pairs % 2 == 1) expected.push_back(aa);
    if (n % 2 == 1) expected.push_back(a);
    EXPECT_EQ((*small)->Encode(std::string(n, 'a'), false), expected) << n;
  }
  EXPECT_THAT(t.Encode("", true), IsEmpty());
}

TEST(Tokenizer, UserDefinedTokensAreFoundInAllTextAndStructureIsNot) {
  SmallVocab vocab;
  const int32_t table = vocab.Add("<table>", 4);
  const int32_t longer = vocab.Add("<table>\n", 4);
  const int32_t marker = vocab.Add("<|new|>", 1);
  const int32_t x = vocab.Add("x");
  for (const char* text : {"<", "|", "n"}) vocab.Add(text);
  const auto t = vocab.Load();
  ASSERT_TRUE(t.ok()) << t.status();
  for (const bool special : {false, true}) {
    EXPECT_THAT((*t)->Encode("x<table>x<table>\nx", special), ElementsAre(x, table, x, longer, x));
  }
  EXPECT_TRUE((*t)->IsControl(marker));
  EXPECT_THAT((*t)->Encode("x<|new|>", true), ElementsAre(x, marker));
  EXPECT_THAT((*t)->Encode("x<|new|>", false), testing::Not(testing::Contains(marker)));
}

TEST(Tokenizer, NothingMergesIntoAControlToken) {
  SmallVocab vocab;
  for (const char* text : {"<", "|", "p", "x", "|>", ">", "<x"}) vocab.Add(text);
  vocab.Add("<p|>", 3);
  const int32_t evil = vocab.Add("<x|>", 1);
  vocab.merges = {"| >", "< x", "<x |>"};
  const auto t = vocab.Load();
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT((*t)->Encode("<x|>", false), ElementsAre((*t)->Find("<x"), (*t)->Find("|>")));
  EXPECT_THAT((*t)->Encode("<x|>", true), ElementsAre(evil));
}

TEST(Tokenizer, UnknownCharactersWithoutByteTokensAreFused) {
  SmallVocab vocab;
  const int32_t x = vocab.Add("x");
  vocab.tokens[8 + 0xC3] = "gone";
  const auto t = vocab.Load();
  ASSERT_TRUE(t.ok()) << t.status();
  const int32_t unknown = (*t)->Find("<unk>");
  EXPECT_THAT((*t)->Encode("xééx", false), ElementsAre(x, unknown, x));
  EXPECT_THAT((*t)->Encode("xàx", false), ElementsAre(x, unknown, x));
  EXPECT_THAT((*t)->Encode("€", false),
              ElementsAre((*t)->Find("<0xE2>"), (*t)->Find("<0x82>"), (*t)->Find("<0xAC>")));
}

TEST(Tokenizer, StopTokensOfTheFile) {
  SmallVocab vocab;
  const int32_t end = vocab.Add("</end>");
  vocab.ids = {{"eos_token_id", 5}, {"eot_token_id", static_cast<uint32_t>(end)}};
  const auto t = vocab.Load();
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT((*t)->StopTokens(), ElementsAre(1, 5, end));
  EXPECT_THAT((*t)->BannedTokens(), IsEmpty());
}

TEST(Tokenizer, BadVocabularies) {
  const auto error = [](auto change) {
    SmallVocab vocab;
    vocab.Add("a");
    vocab.Add("b");
    vocab.Add("ab");
    vocab.merges = {"a b"};
    change(vocab);
    const auto loaded = vocab.Load();
    return loaded.ok() ? absl::OkStatus() : loaded.status();
  };
  const auto fails = [&](auto change, const std::string& message) {
    const absl::Status status = error(change);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  EXPECT_TRUE(error([](SmallVocab&) {}).ok());
  EXPECT_TRUE(error([](SmallVocab& v) { v.Add("a"); }).ok());
  EXPECT_TRUE(error([](SmallVocab& v) { v.merges.push_back("a b"); }).ok());
  fails([](SmallVocab& v) { v.model = "llama"; }, "tokenizer.ggml.model is \"llama\"");
  fails([](SmallVocab& v) { v.types.pop_back(); }, "tokenizer.ggml.token_type has 266 entries");
  fails([](SmallVocab& v) { v.merges.push_back("a c"); }, "merges[1] \"a c\" names a token");
  fails([](SmallVocab& v) { v.merges.push_back("b a"); }, "merges[1] \"b a\" makes a token");
  fails([](SmallVocab& v) { v.merges.push_back("ab"); }, "is not two tokens");
  fails([](SmallVocab& v) { v.merges.push_back(""); }, "is not two tokens");
  fails([](SmallVocab& v) { v.tokens.clear(), v.types.clear(); }, "tokenizer.ggml.tokens");
  fails([](SmallVocab& v) { v.tokens[2] = "x"; }, "no <bos>");
  fails([](SmallVocab& v) { v.ids = {{"eos_token_id", 100000}}; }, "eos_token_id is 100000");
  fails([](SmallVocab& v) { v.tokens[3] = "x", v.tokens[8] = "y"; }, "no token for 1 of the 256");
}

}  // namespace
}  // namespace softsplice

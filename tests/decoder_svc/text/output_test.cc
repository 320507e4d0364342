#include "decoder_svc/text/output.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/text/utf8.h"
#include "tests/decoder_svc/text/vocab_file.h"

namespace softsplice {
namespace {

using testing::ElementsAre;
using Ids = std::vector<int32_t>;

struct Output {
  std::string answer;
  std::string thought;
  Ids tokens;
  int thought_tokens = 0;
  std::string stop;
  bool stopped = false;
  std::vector<OutputDelta> deltas;
};

bool IsUtf8(absl::string_view text) {
  while (!text.empty()) {
    const Utf8Char c = NextUtf8(text);
    if (c.state != Utf8::kValid) return false;
    text.remove_prefix(c.bytes);
  }
  return true;
}

Output Stream(const Ids& tokens, const std::vector<std::string>& stop = {}) {
  Output out;
  OutputStream stream(RealTokenizer(), stop);
  const auto take = [&](const std::vector<OutputDelta>& deltas) {
    for (const OutputDelta& delta : deltas) {
      EXPECT_TRUE(IsUtf8(delta.text)) << delta.text;
      EXPECT_FALSE(delta.text.empty() && delta.tokens.empty());
      (delta.channel == OutputChannel::kAnswer ? out.answer : out.thought) += delta.text;
      out.tokens.insert(out.tokens.end(), delta.tokens.begin(), delta.tokens.end());
      out.deltas.push_back(delta);
    }
  };
  for (const int32_t token : tokens) take(stream.Push(token));
  take(stream.Finish());
  out.thought_tokens = stream.thought_tokens();
  out.stop = stream.stop_string();
  out.stopped = stream.stopped();
  return out;
}

int32_t Byte(uint8_t byte) {
  char text[8];
  snprintf(text, sizeof(text), "<0x%02X>", byte);
  return RealTokenizer().Find(text);
}

Ids Bytes(absl::string_view text) {
  Ids ids;
  for (const char c : text) ids.push_back(Byte(static_cast<uint8_t>(c)));
  return ids;
}

// Tokens for `text` that need not be those of the tokenizer: cut anywhere, single bytes here and
// there; control tokens stay whole, as only they can.
Ids RandomTokens(const std::string& text, std::mt19937& random) {
  const Tokenizer& t = RealTokenizer();
  Ids ids;
  for (const int32_t id : t.Encode(text, true)) {
    if (t.IsControl(id)) {
      ids.push_back(id);
      continue;
    }
    absl::string_view rest = t.Bytes(id);
    while (!rest.empty()) {
      const size_t n = 1 + random() % rest.size();
      const int32_t part = t.Find(absl::StrReplaceAll(rest.substr(0, n), {{" ", "\u2581"}}));
      if (part >= 0 && !t.IsControl(part) && random() % 3 > 0) {
        ids.push_back(part);
        rest.remove_prefix(n);
      } else {
        ids.push_back(Byte(static_cast<uint8_t>(rest[0])));
        rest.remove_prefix(1);
      }
    }
  }
  return ids;
}

TEST(OutputStream, SameTextHoweverTheTokensFall) {
  const std::string thought = "Zwei Größen: 漢字 🦙\nund mehr END.\n";
  const std::string before = "Sure: ";
  const std::string after = "Ein 漢字, zwei 👨‍👩‍👧‍👦 und E EN END nie.";
  const std::string text =
      absl::StrCat(before, "<|channel>thought\n", thought, "<channel|>", after, "<pad>");
  std::mt19937 random(11);
  for (int round = 0; round < 500; ++round) {
    const Ids ids = RandomTokens(text, random);
    const Output all = Stream(ids);
    EXPECT_EQ(all.answer, before + after);
    EXPECT_EQ(all.thought, thought);
    EXPECT_EQ(all.tokens, ids);
    EXPECT_FALSE(all.stopped);
    const auto begin = std::find(ids.begin(), ids.end(), RealTokenizer().Find("<|channel>"));
    const auto end = std::find(ids.begin(), ids.end(), RealTokenizer().Find("<channel|>"));
    EXPECT_EQ(all.thought_tokens, end - begin + 1);

    const Output stopped = Stream(ids, {"nie gesehen", "END", " EN END nie", ""});
    EXPECT_EQ(stopped.answer, before + "Ein 漢字, zwei 👨‍👩‍👧‍👦 und E EN ");
    EXPECT_EQ(stopped.thought, thought);
    EXPECT_TRUE(stopped.stopped);
    EXPECT_EQ(stopped.stop, "END");
  }
}

TEST(OutputStream, ChannelNames) {
  const Tokenizer& t = RealTokenizer();
  const Output empty = Stream(t.Encode("<|channel>thought\n<channel|>Hi", true));
  EXPECT_EQ(empty.answer, "Hi");
  EXPECT_EQ(empty.thought, "");
  EXPECT_EQ(empty.thought_tokens, 4);
  EXPECT_EQ(Stream(t.Encode("<|channel>thought<channel|>Hi", true)).answer, "Hi");
  EXPECT_EQ(Stream(t.Encode("<|channel>thought", true)).thought, "");
  EXPECT_EQ(Stream(t.Encode("<|channel>thought\nunfinished", true)).thought, "unfinished");
  const Output twice =
      Stream(t.Encode("<|channel>thought\na<channel|>b<|channel>thought\nc<channel|>d", true));
  EXPECT_EQ(twice.thought, "ac");
  EXPECT_EQ(twice.answer, "bd");
  // Outside a channel the words are only words, and a stray end is nothing.
  EXPECT_EQ(Stream(t.Encode("thought\nx<channel|>y", true)).answer, "thought\nxy");
}

TEST(OutputStream, ControlTokensAreNotShown) {
  const Output out = Stream(RealTokenizer().Encode("a<turn|>b<eos><|image>c<unk><bos>", true));
  EXPECT_EQ(out.answer, "abc");
  EXPECT_EQ(out.tokens.size(), 8u);
}

// Else what comes with the tokens, log probabilities above all, would pile up unseen.
TEST(OutputStream, ManyTokensWithoutTextAreToldAsTheyCome) {
  OutputStream stream(RealTokenizer(), {});
  const int32_t silent = RealTokenizer().Find("<|image>");
  ASSERT_TRUE(RealTokenizer().IsControl(silent));
  size_t told = 0;
  for (size_t i = 0; i < 1000; ++i) {
    for (const OutputDelta& delta : stream.Push(silent)) told += delta.tokens.size();
    EXPECT_GE(told + 100, i);
  }
}

TEST(OutputStream, BrokenCharacters) {
  // What Python's bytes.decode(errors="replace") gives.
  EXPECT_EQ(Stream(Bytes("a\xE6\xBC")).answer, "a\uFFFD");
  EXPECT_EQ(Stream(Bytes("\xE6\xBCz")).answer, "\uFFFDz");
  EXPECT_EQ(Stream(Bytes("\xFF\xC0\x80z")).answer, "\uFFFD\uFFFD\uFFFDz");
  EXPECT_EQ(Stream(Bytes("\xF0\x9F\xA6\xF0\x9F\xA6\x99")).answer, "\uFFFD🦙");
  EXPECT_EQ(Stream(Bytes("\xED\xA0\x80")).answer, "\uFFFD\uFFFD\uFFFD");
  Ids cut = Bytes("\xE6\xBC");
  cut.push_back(RealTokenizer().Find("<|channel>"));
  for (const int32_t id : Bytes("thought\n\xA2\xE6")) cut.push_back(id);
  cut.push_back(RealTokenizer().Find("<channel|>"));
  for (const int32_t id : Bytes("\xBC"
                                "ok"))
    cut.push_back(id);
  const Output out = Stream(cut);
  EXPECT_EQ(out.answer, "\uFFFD\uFFFDok");
  EXPECT_EQ(out.thought, "\uFFFD\uFFFD");
  EXPECT_EQ(out.tokens, cut);
}

TEST(OutputStream, NothingIsHeldBackWithoutNeed) {
  OutputStream stream(RealTokenizer(), {"STOP"});
  const auto push = [&](absl::string_view text) {
    std::string shown;
    for (const int32_t id : Bytes(text)) {
      for (const OutputDelta& delta : stream.Push(id)) shown += delta.text;
    }
    return shown;
  };
  EXPECT_EQ(push("abc"), "abc");
  EXPECT_EQ(push("S"), "");
  EXPECT_EQ(push("T"), "");
  EXPECT_EQ(push("S"), "ST");
  EXPECT_EQ(push("TO"), "");
  EXPECT_EQ(push("x"), "STOx");
  EXPECT_EQ(push("\xF0\x9F\xA6"), "");
  EXPECT_EQ(push("\x99"), "🦙");
  EXPECT_EQ(push("STO"), "");
  const auto rest = stream.Finish();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].text, "STO");
  EXPECT_EQ(rest[0].tokens, Bytes("STO"));
  EXPECT_FALSE(stream.stopped());
}

TEST(OutputStream, StopStrings) {
  const auto stop = [](absl::string_view text, const std::vector<std::string>& stops) {
    const Output out = Stream(Bytes(text), stops);
    return absl::StrCat(out.answer, "|", out.stop);
  };
  EXPECT_EQ(stop("abcd", {"bc"}), "a|bc");
  EXPECT_EQ(stop("aaab", {"aab"}), "a|aab");
  EXPECT_EQ(stop("abcd", {"abcX", "bcd"}), "a|bcd");
  EXPECT_EQ(stop("abcd", {"cd", "bcd"}), "a|bcd");
  EXPECT_EQ(stop("abcd", {"abcd", "b"}), "a|b");
  EXPECT_EQ(stop("stop", {"stop"}), "|stop");
  EXPECT_EQ(stop("x漢y", {"漢"}), "x|漢");
  EXPECT_EQ(stop("x\xFFy", {"\uFFFD"}), "x|\uFFFD");
  EXPECT_EQ(stop("abc", {""}), "abc|");
  // The tokens that made the stop string are not reported, and nothing comes after it.
  EXPECT_THAT(Stream(Bytes("abcd"), {"bc"}).tokens, ElementsAre(Byte('a')));
  // A stop string does not reach over a thought, nor into one.
  const Tokenizer& t = RealTokenizer();
  const Output out = Stream(t.Encode("ST<|channel>thought\nSTOP<channel|>OP", true), {"STOP"});
  EXPECT_FALSE(out.stopped);
  EXPECT_EQ(out.answer, "STOP");
  EXPECT_EQ(out.thought, "STOP");
}

}  // namespace
}  // namespace softsplice

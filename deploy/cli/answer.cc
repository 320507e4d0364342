#include "deploy/cli/answer.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <iostream>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "deploy/cli/terminal.h"

namespace softsplice {
namespace {

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

std::string Figures(const v1::Finished& finished) {
  const v1::GenerateTimings& timings = finished.timings();
  const uint32_t tokens = finished.usage().completion_tokens();
  const double first = Seconds(timings.time_to_first_token());
  const double decode = Seconds(timings.total()) - first;
  std::string figures = absl::StrFormat("[%u prompt tokens, first word after %.2f s, %u tokens",
                                        finished.usage().prompt_tokens(), first, tokens);
  if (tokens > 1 && decode > 0)
    absl::StrAppendFormat(&figures, " at %.1f/s", (tokens - 1) / decode);
  return figures + "]";
}

// What was made of a video; of a sound and a picture there is nothing to say.
std::string Figures(const v1::SoftTokensHeader& header) {
  const v1::VideoLayout& video = header.video();
  double seconds = 0;
  for (const v1::AudioSegment& segment : video.sound()) seconds += Seconds(segment.duration());
  const std::string sound =
      video.sound().empty() ? "no sound" : absl::StrFormat("%.1f s of sound", seconds);
  return absl::StrCat("[video read: ", video.frames_size(), " frames, ", sound, ", ", header.rows(),
                      " rows]");
}

// Why an answer ended, where that is not simply that it was complete.
std::string EndNote(const v1::Finished& finished) {
  if (finished.reason() == v1::FINISH_REASON_STOP) return "";
  if (finished.reason() == v1::FINISH_REASON_STOP_STRING) return "";
  absl::string_view name = v1::FinishReason_Name(finished.reason());
  absl::ConsumePrefix(&name, "FINISH_REASON_");
  return absl::StrCat(
      "[ended early: ", absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", " "}}), "]");
}

std::string Percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? "" : absl::StrCat(" (", 100 * part / whole, " %)");
}

// What a request waits for.
std::string Describe(const v1::Progress& progress) {
  switch (progress.stage()) {
    case v1::STAGE_ENCODING:
      return absl::StrCat("encoding, ", progress.media_encoded(), " of ", progress.media(),
                          " done,");
    case v1::STAGE_QUEUED:
      return absl::StrCat("waiting, ", progress.queue_position(), " before this,");
    case v1::STAGE_READING:
      return absl::StrCat("reading the prompt, ", progress.prompt_tokens_read(), " of ",
                          progress.prompt_tokens(), " tokens",
                          Percent(progress.prompt_tokens_read(), progress.prompt_tokens()), ",");
    default:
      return "preparing,";
  }
}

class TextPrinter : public AnswerPrinter {
 public:
  TextPrinter(const std::string& waiting, int new_media)
      : progress_(waiting), new_media_(new_media) {}

  absl::Status OnEvent(const v1::GenerateResponse& response) override {
    if (response.has_started()) {
      OnStarted(response.started());
    } else if (response.has_progress()) {
      progress_.Update(Describe(response.progress()));
    } else if (response.has_delta()) {
      return OnDelta(response.delta());
    } else if (response.has_finished()) {
      finished_ = response.finished();
    }
    return absl::OkStatus();
  }

  void OnEnd() override {
    EndWaiting();
    EndThought();
    if (wrote_) std::cout << std::endl;
    const std::string note = EndNote(finished_);
    if (finished_.has_usage() && !note.empty()) std::cerr << DimForStderr(note) << std::endl;
    if (finished_.has_usage()) ShowFigures(Figures(finished_));
  }

 private:
  void OnStarted(const v1::Started& started) {
    const int media = started.media_size();
    for (int i = std::max(0, media - new_media_); i < media; ++i) {
      const v1::SoftTokensHeader& header = started.media(i).header();
      if (header.has_video()) videos_.push_back(Figures(header));
    }
    progress_.Update(absl::StrCat("reading the prompt, ", started.prompt_tokens(), " tokens,"));
  }

  void EndWaiting() {
    progress_.Stop();
    for (const std::string& video : std::exchange(videos_, {})) ShowFigures(video);
  }

  static void ShowFigures(const std::string& figures) {
    if (StdoutIsTerminal() && StderrIsTerminal()) {
      std::cerr << DimForStderr(figures) << std::endl;
    }
  }

  absl::Status OnDelta(const v1::Delta& delta) {
    if (delta.text().empty()) return absl::OkStatus();
    EndWaiting();
    if (delta.channel() == v1::CHANNEL_THOUGHT) {
      in_thought_ = true;
      const bool shown = StderrIsTerminal();
      std::cerr << DimForStderr(shown ? PrintableText(delta.text()) : delta.text()) << std::flush;
      return absl::OkStatus();
    }
    EndThought();
    wrote_ = true;
    return PrintAnswer(delta.text());
  }

  void EndThought() {
    if (in_thought_) std::cerr << std::endl;
    in_thought_ = false;
  }

  Progress progress_;
  const int new_media_;
  std::vector<std::string> videos_;  // figures that are yet to be shown
  v1::Finished finished_;
  bool in_thought_ = false;
  bool wrote_ = false;
};

class JsonPrinter : public AnswerPrinter {
 public:
  absl::Status OnEvent(const v1::GenerateResponse& response) override {
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    std::string line;
    if (!MessageToJsonString(response, &line, options).ok()) return absl::OkStatus();
    return PrintAnswer(line + "\n");
  }
  void OnEnd() override {}
};

}  // namespace

std::unique_ptr<AnswerPrinter> MakeTextPrinter(const std::string& waiting, int new_media) {
  return std::make_unique<TextPrinter>(waiting, new_media);
}

std::unique_ptr<AnswerPrinter> MakeJsonPrinter() { return std::make_unique<JsonPrinter>(); }

}  // namespace softsplice

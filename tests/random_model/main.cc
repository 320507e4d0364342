// softsplice-random-model: writes full-size files with the structure of Gemma 4 E4B or E2B and
// random weights, for measuring where no real ones are. The weights mean nothing.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <mutex>

#include "absl/strings/str_format.h"
#include "common/status/macros.h"
#include "tests/random_model/model.h"
#include "tests/random_model/write.h"

namespace softsplice::random_model {
namespace {

constexpr int kTokens = 262144;
constexpr int kSmallTokens = 1024;

struct Options {
  std::string text, text_type = "Q4_0";
  std::string mmproj, mmproj_type = "F16";
  std::string vocabulary;
  int layers = 0;
  bool e2b = false;
  bool small = false;
  bool medium = false;
};

// One line on a terminal that tells how far a file is.
class Progress {
 public:
  Progress(const std::string& path, uint64_t all) : path_(path), all_(all) {}
  void Add(uint64_t bytes) {
    std::lock_guard lock(mutex_);
    done_ += bytes;
    const int percent = static_cast<int>(100 * done_ / all_);
    if (!terminal_ || percent == shown_) return;
    shown_ = percent;
    absl::FPrintF(stderr, "\r%s: %3d%% of %.2f GB%s", path_, percent,
                  1e-9 * static_cast<double>(all_), done_ == all_ ? "\n" : "");
  }

 private:
  const std::string& path_;
  const uint64_t all_;
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  std::mutex mutex_;
  uint64_t done_ = 0;
  int shown_ = -1;
};

absl::Status WriteFile(const std::string& path, Model model) {
  Progress progress(path, model.Bytes());
  return Write(path, std::move(model), [&](uint64_t bytes) { progress.Add(bytes); });
}

absl::Status WriteText(const Options& options) {
  TextShape shape = options.e2b      ? kE2BText
                    : options.small  ? kSmallText
                    : options.medium ? kMediumText
                                     : TextShape{};
  if (options.layers > 0) shape.layers = options.layers;
  Vocabulary vocabulary;
  if (options.vocabulary.empty()) {
    vocabulary.tokens = options.small ? kSmallTokens : kTokens;
    vocabulary.metadata = MadeUpVocabulary(vocabulary.tokens);
  } else {
    ASSIGN_OR_RETURN(vocabulary, VocabularyOf(options.vocabulary));
  }
  ASSIGN_OR_RETURN(Model model, TextModel(shape, options.text_type, std::move(vocabulary.metadata),
                                          vocabulary.tokens));
  return WriteFile(options.text, std::move(model));
}

absl::Status WriteMmproj(const Options& options) {
  const MmprojShape shape = options.e2b      ? kE2BMmproj
                            : options.small  ? kSmallMmproj
                            : options.medium ? kMediumMmproj
                                             : MmprojShape{};
  ASSIGN_OR_RETURN(Model model, MmprojModel(shape, options.mmproj_type));
  return WriteFile(options.mmproj, std::move(model));
}

absl::Status Run(const Options& options) {
  if (!options.text.empty()) RETURN_IF_ERROR(WriteText(options));
  if (!options.mmproj.empty()) RETURN_IF_ERROR(WriteMmproj(options));
  return absl::OkStatus();
}

}  // namespace
}  // namespace softsplice::random_model

int main(int argc, char** argv) {
  softsplice::random_model::Options options;
  CLI::App app("Writes files with the structure of Gemma 4 E4B (or E2B) and random weights.");
  auto* files = app.add_option_group("files", "at least one of");
  files->add_option("--text", options.text, "text GGUF to write");
  files->add_option("--mmproj", options.mmproj, "mmproj GGUF to write");
  files->require_option(1, 2);
  app.add_option(
         "--type", options.text_type,
         "of the text model's linear layers: F32, F16, BF16, Q4_0, …, or the mixture Q4_K_M")
      ->capture_default_str();
  app.add_option("--mmproj-type", options.mmproj_type, "of the towers' linear layers")
      ->capture_default_str();
  app.add_option("--vocab", options.vocabulary,
                 "GGUF whose vocabulary the text model gets (default: a made-up one)")
      ->check(CLI::ExistingFile);
  app.add_option("--layers", options.layers,
                 "text layers, a multiple of 6 (default: 42); of E2B, of 5 (default: 35)")
      ->check(CLI::PositiveNumber);
  auto* e2b = app.add_flag("--e2b", options.e2b, "E2B instead of E4B");
  auto* small =
      app.add_flag("--small", options.small, "models of about 2 MB, for tests")->excludes(e2b);
  app.add_flag("--medium", options.medium,
               "models of about a twentieth of the work, for what is to be measured in minutes")
      ->excludes(small)
      ->excludes(e2b);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = softsplice::random_model::Run(options);
  if (!status.ok()) std::cerr << "softsplice-random-model: " << status.message() << std::endl;
  return status.ok() ? 0 : 1;
}

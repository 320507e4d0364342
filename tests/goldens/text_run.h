// Runs prompts through the text trunk alone, one sequence at a time, the way goldens ask for it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "decoder_svc/model/gemma4.h"
#include "decoder_svc/text/tokenizer.h"
#include "kernels/backend_factory.h"

namespace softsplice::goldens {

// float32 rows on the host.
struct HostMatrix {
  int rows = 0;
  int cols = 0;
  std::vector<float> values;
};

using StageSink = std::function<void(absl::string_view stage, const HostMatrix& values)>;

struct PromptRun {
  std::vector<int32_t> tokens;   // placeholders of pictures and sounds included
  std::vector<HostMatrix> soft;  // one per run of placeholders, in order
  std::vector<int> logit_rows;   // ascending
  int greedy = 0;                // tokens to go on with after the prompt
  int chunk = 0;                 // prompt rows a step; 0: all in one
  bool kv_f32 = true;
  StageSink stages;  // null: no stages; needs chunk 0
};

struct TextResult {
  HostMatrix logits;  // of logit_rows
  std::vector<int32_t> greedy;
};

// A loaded text model.
class TextModel {
 public:
  static absl::StatusOr<std::unique_ptr<TextModel>> Load(const std::string& path,
                                                         const BackendOptions& options);
  absl::StatusOr<TextResult> Run(const PromptRun& run);

 private:
  TextModel() = default;
  struct Session;
  absl::Status PlaceSoft(const PromptRun& run, Session& session) const;
  absl::Status Feed(Session& session, const std::vector<int32_t>& tokens, int first, int count,
                    const std::vector<int>& tail, const PromptRun& run, HostMatrix* logits);

  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Gemma4> model_;
};

// A float32 or bfloat16 matrix in the backend's memory, brought to the host; NaN if the ops before
// it failed.
HostMatrix ToHost(Backend& backend, Mat mat);

}  // namespace softsplice::goldens

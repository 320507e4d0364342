// llama-server's dialect of OpenAI's chat completions.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/string_view.h"
#include "softsplice/v1/decoder.pb.h"

namespace softsplice::bench {

// `request`, which is a chat, as the body of a streamed chat completion: sampled as our decoder
// does by default, with the tokens banned that end an answer, and timed token by token. Pictures
// are BMP files and sounds WAV files. What a medium may become is not said.
std::string ChatCompletionBody(const v1::GenerateRequest& request);

// Finds the events of a stream, however it is cut into pieces.
class EventStream {
 public:
  // `on_data` is called with the data of each event.
  explicit EventStream(std::function<void(absl::string_view)> on_data);
  void Feed(absl::string_view bytes);
  // The beginning of a line whose end is not there; what is no stream has its text here.
  const std::string& rest() const { return rest_; }

 private:
  const std::function<void(absl::string_view)> on_data_;
  std::string rest_;
};

// The values at a JSON pointer; empty and 0 where there is none of this type.
std::string TextAt(const nlohmann::json& json, const std::string& pointer);
double NumberAt(const nlohmann::json& json, const std::string& pointer);

}  // namespace softsplice::bench

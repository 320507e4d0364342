#include "deploy/cli/inspect.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/config/audio_config.h"
#include "common/config/mmproj.h"
#include "common/config/text_config.h"
#include "common/config/unread.h"
#include "common/config/vision_config.h"
#include "common/gguf/file.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "common/text/bytes.h"
#include "decoder_svc/text/tokenizer.h"
#include "deploy/cli/pair.h"
#include "deploy/cli/placement.h"
#include "kernels/choose_backend.h"
#include "nlohmann/json.hpp"

namespace softsplice {
namespace {

using nlohmann::ordered_json;

struct TypeShare {
  int tensors = 0;
  uint64_t bytes = 0;
};

// What there is to say about a file, before it is laid out.
struct Report {
  const gguf::File& file;
  std::string kind;  // "text", "mmproj" or "other"
  std::string what;  // the same in words
  std::string use;   // how to serve it, or why it can't be
  bool servable = false;
  std::optional<TextConfig> text;
  std::optional<VisionConfig> vision;
  std::optional<AudioConfig> audio;
  std::optional<Placement> placement;  // where it is servable
  std::vector<std::string> unread;     // see UnreadNames
  int64_t parameters = 0;
  std::map<absl::string_view, TypeShare> types;
};

// ---- Looking

// The report names the file already, so the reason need not.
std::string Unserved(const gguf::File& file, const absl::Status& status) {
  const std::string message(status.message());
  return absl::StrCat("can't be served: ",
                      absl::StripPrefix(message, absl::StrCat(file.path(), ": ")));
}

void DescribeText(Report& r) {
  r.kind = "text";
  r.what = "a Gemma 4 text model";
  auto config = TextConfig::FromGguf(r.file);
  if (!config.ok()) {
    r.use = Unserved(r.file, config.status());
    return;
  }
  r.text = *std::move(config);
  r.unread = UnreadNames(r.file);
  const absl::Status tokenizer = Tokenizer::FromGguf(r.file).status();
  r.servable = tokenizer.ok();
  r.use =
      tokenizer.ok() ? "the decoder serves it: give it to --model" : Unserved(r.file, tokenizer);
}

absl::Status ReadTowers(Report& r) {
  ASSIGN_OR_RETURN(const Towers towers, FindTowers(r.file));
  if (towers.image) {
    ASSIGN_OR_RETURN(r.vision, VisionConfig::FromGguf(r.file));
  }
  if (towers.audio) {
    ASSIGN_OR_RETURN(r.audio, AudioConfig::FromGguf(r.file));
  }
  return absl::OkStatus();
}

void DescribeMmproj(Report& r) {
  const Towers towers = FindTowers(r.file).value_or(Towers());
  r.kind = "mmproj";
  r.what = absl::StrCat("an mmproj file with ", towers.image && towers.audio
                                                    ? "an image and an audio tower"
                                                : towers.image ? "an image tower"
                                                : towers.audio ? "an audio tower"
                                                               : "no tower");
  const absl::Status status = ReadTowers(r);
  r.servable = status.ok();
  r.use = status.ok() ? absl::StrCat("the encoder serves ",
                                     towers.image && towers.audio ? "its two towers"
                                     : towers.image               ? "its image tower"
                                                                  : "its audio tower",
                                     ": give it to --mmproj")
                      : Unserved(r.file, status);
}

Report Look(const gguf::File& file) {
  Report r{.file = file};
  const std::string arch = file.String("general.architecture").value_or("");
  if (arch == "gemma4") {
    DescribeText(r);
  } else if (arch == "clip") {
    DescribeMmproj(r);
  } else {
    r.kind = "other";
    r.what = arch.empty() ? "a GGUF file without general.architecture"
                          : absl::StrCat("a model of architecture ", absl::Utf8SafeCEscape(arch));
    r.use = "can't be served: text files have the architecture gemma4, mmproj files clip";
  }
  if (r.servable) r.placement = PlacementOf(file, r.kind == "mmproj");
  // To measure it, all of it is loaded, but for the numbers.
  if (r.placement && !r.placement->host.ok()) {
    r.servable = false;
    r.use = Unserved(file, r.placement->host.status());
    r.placement.reset();
  }
  for (const gguf::Tensor& tensor : file.tensors()) {
    r.parameters += tensor.Elements();
    TypeShare& share = r.types[gguf::Info(tensor.type).name];
    ++share.tensors;
    share.bytes += tensor.bytes;
  }
  return r;
}

// ---- For people

// With commas: "1,234,567".
std::string Grouped(int64_t n) {
  const std::string digits = absl::StrCat(n);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
    out += digits[i];
  }
  return out;
}

std::string Count(int64_t n, absl::string_view noun) {
  return absl::StrCat(Grouped(n), " ", noun, n == 1 ? "" : "s");
}

// "S S F | S F": the last ones, which share keys and values, stand after the bar.
std::string Pattern(const TextConfig& c) {
  std::string out;
  for (int i = 0; i < c.layers; ++i) {
    if (i > 0) out += ' ';
    if (i > 0 && i == c.layers - c.shared_kv_layers) out += "| ";
    out += c.is_sliding[i] ? 'S' : 'F';
  }
  return out;
}

// "10240", or "6144 (layers 0-14), 12288 (layers 15-34)".
std::string Runs(const std::vector<int>& values) {
  std::vector<std::string> runs;
  for (size_t i = 0; i < values.size();) {
    size_t end = i;
    while (end < values.size() && values[end] == values[i]) ++end;
    if (end - i == values.size()) return absl::StrCat(values[i]);
    runs.push_back(absl::StrCat(values[i], " (layers ", i, "-", end - 1, ")"));
    i = end;
  }
  return absl::StrJoin(runs, ", ");
}

using Lines = std::vector<std::pair<std::string, std::string>>;

Lines TextLines(const TextConfig& c) {
  return {
      {"Layers", absl::StrCat(c.layers, ": ", Pattern(c))},
      {"", absl::StrCat("S sees the last ", c.window, " positions, F all",
                        c.shared_kv_layers > 0 ? absl::StrCat("; the last ", c.shared_kv_layers,
                                                              " share keys and values")
                                               : "")},
      {"Width", absl::StrCat(c.dim, ", FFN ", Runs(c.ffn), ", per-layer embeddings ", c.ple_dim)},
      {"Heads", absl::StrCat(c.heads, " of ", c.head_dim_sliding, " (S) or ", c.head_dim_full,
                             " (F), KV heads ", Runs(c.kv_heads))},
      {"Vocabulary", Grouped(c.vocab)},
      {"Context", Grouped(c.context_length)}};
}

// Of an image or an audio tower.
template <class Config>
std::string Tower(const Config& c) {
  return absl::StrCat(Count(c.layers, "layer"), " of width ", c.dim, ", FFN ", c.ffn, ", ", c.heads,
                      " heads of ", c.HeadDim());
}

Lines VisionLines(const VisionConfig& c) {
  return {{"Image tower", Tower(c)},
          {"Patches", absl::StrCat(c.patch, " x ", c.patch, " pixels, ", c.pool, " x ", c.pool,
                                   " of them pooled; sides of at most ", c.positions, " patches")},
          {"Soft tokens", absl::StrCat("of ", c.projection_dim, " numbers")}};
}

Lines AudioLines(const AudioConfig& c) {
  return {{"Audio tower", absl::StrCat(Tower(c), ", output ", c.output_dim)},
          {"Soft tokens", absl::StrCat("of ", c.projection_dim, " numbers")}};
}

// As a terminal may have them.
std::string Names(const std::vector<std::string>& names) {
  return absl::StrJoin(names, ", ", [](std::string* out, const std::string& name) {
    absl::StrAppend(out, absl::Utf8SafeCEscape(name));
  });
}

Lines Summary(const Report& r) {
  const std::string name = r.file.String("general.name").value_or("");
  Lines lines = {
      {"File", r.file.path()},
      {"What", absl::StrCat(r.what, name.empty() ? "" : ": ", absl::Utf8SafeCEscape(name))},
      {"Use", r.use},
      {"Size", absl::StrCat(BytesForPeople(r.file.file_bytes()), " (",
                            Grouped(static_cast<int64_t>(r.file.file_bytes())), " bytes in ",
                            Count(static_cast<int64_t>(r.file.parts()), "file"),
                            "), tensors aligned to ", r.file.alignment(), " bytes")},
      {"Parameters", Grouped(r.parameters)}};
  std::string label = "Types";
  for (const auto& [type, share] : r.types) {
    lines.emplace_back(
        std::exchange(label, ""),
        absl::StrFormat("%-7s %6d tensors %12s", type, share.tensors, BytesForPeople(share.bytes)));
  }
  const auto add = [&](const Lines& more) { lines.insert(lines.end(), more.begin(), more.end()); };
  if (!r.unread.empty()) lines.emplace_back("Not read", Names(r.unread));
  if (r.text) add(TextLines(*r.text));
  if (r.vision) add(VisionLines(*r.vision));
  if (r.audio) add(AudioLines(*r.audio));
  if (r.placement) add(PlacementLines(*r.placement));
  return lines;
}

// On one line and safe for a terminal; long ones end in "..." and their length.
std::string Quoted(absl::string_view text) {
  constexpr size_t kMost = 72;
  if (text.size() <= kMost) return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
  size_t cut = kMost;
  while (cut > 0 && (static_cast<uint8_t>(text[cut]) & 0xc0) == 0x80) --cut;  // not inside UTF-8
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text.substr(0, cut)), "...\" (",
                      Grouped(static_cast<int64_t>(text.size())), " bytes)");
}

struct PrintValue {
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(const std::string& v) const { return Quoted(v); }
  template <class T>
  std::string operator()(const T& v) const {
    return absl::StrCat(v);
  }
  template <class T>
  std::string operator()(const std::vector<T>& values) const {
    constexpr size_t kMost = 8;
    std::vector<std::string> first;
    for (size_t i = 0; i < std::min(values.size(), kMost); ++i) {
      first.push_back((*this)(static_cast<const T&>(values[i])));
    }
    const std::string shown = absl::StrJoin(first, ", ");
    if (first.size() == values.size()) return absl::StrCat("[", shown, "]");
    return absl::StrCat("[", shown, ", ...] (", Grouped(static_cast<int64_t>(values.size())),
                        " entries)");
  }
};

// Two columns, the first as wide as its widest entry.
void PrintLines(const Lines& lines, absl::string_view indent, std::ostream& out) {
  size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line.first.size());
  for (const auto& [label, text] : lines) {
    out << indent << label << std::string(width - label.size() + 2, ' ') << text << "\n";
  }
}

void PrintTensors(const gguf::File& file, std::ostream& out) {
  std::vector<std::vector<std::string>> rows = {{"name", "type", "shape", "bytes"}};
  for (const gguf::Tensor& tensor : file.tensors()) {
    rows.push_back({absl::Utf8SafeCEscape(tensor.name), std::string(gguf::Info(tensor.type).name),
                    absl::StrJoin(tensor.dims, " x "),
                    Grouped(static_cast<int64_t>(tensor.bytes))});
  }
  size_t width[4] = {};
  for (const auto& row : rows) {
    for (size_t i = 0; i < 4; ++i) width[i] = std::max(width[i], row[i].size());
  }
  for (const auto& row : rows) {
    out << "  ";
    for (size_t i = 0; i < 3; ++i) out << row[i] << std::string(width[i] - row[i].size() + 2, ' ');
    out << std::string(width[3] - row[3].size(), ' ') << row[3] << "\n";
  }
}

void PrintAll(const Report& r, std::ostream& out) {
  Lines metadata;
  for (const auto& [key, value] : r.file.metadata()) {
    metadata.emplace_back(absl::Utf8SafeCEscape(key), std::visit(PrintValue(), value));
  }
  out << "\nMetadata (" << metadata.size() << ")\n";
  PrintLines(metadata, "  ", out);
  out << "\nTensors (" << r.file.tensors().size() << "), fastest dimension first\n";
  PrintTensors(r.file, out);
}

// ---- As JSON

struct JsonValue {
  template <class T>
  ordered_json operator()(const T& v) const {
    return v;
  }
  template <class T>
  ordered_json operator()(const std::vector<T>& values) const {
    constexpr size_t kMost = 32;
    const auto shown = static_cast<int64_t>(std::min(values.size(), kMost));
    const std::vector<T> first(values.begin(), values.begin() + shown);
    if (values.size() <= kMost) return first;
    return {{"count", values.size()}, {"first", first}};
  }
};

ordered_json TextJson(const TextConfig& c) {
  return {{"layers", c.layers},
          {"pattern", Pattern(c)},
          {"width", c.dim},
          {"ffn", c.ffn},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"kv_source", c.kv_source},
          {"head_dim_full", c.head_dim_full},
          {"head_dim_sliding", c.head_dim_sliding},
          {"window", c.window},
          {"per_layer_embeddings", c.ple_dim},
          {"vocabulary", c.vocab},
          {"context_length", c.context_length}};
}

ordered_json VisionJson(const VisionConfig& c) {
  return {{"layers", c.layers},
          {"width", c.dim},
          {"ffn", c.ffn},
          {"heads", c.heads},
          {"patch", c.patch},
          {"pool", c.pool},
          {"positions", c.positions},
          {"projection_dim", c.projection_dim}};
}

ordered_json AudioJson(const AudioConfig& c) {
  return {{"layers", c.layers},
          {"width", c.dim},
          {"ffn", c.ffn},
          {"heads", c.heads},
          {"mel_bins", c.mel_bins},
          {"output_dim", c.output_dim},
          {"projection_dim", c.projection_dim}};
}

ordered_json ToJson(const Report& r) {
  ordered_json json = {{"path", r.file.path()},
                       {"kind", r.kind},
                       {"servable", r.servable},
                       {"use", r.use},
                       {"bytes", r.file.file_bytes()},
                       {"parts", r.file.parts()},
                       {"alignment", r.file.alignment()},
                       {"parameters", r.parameters},
                       {"unread", r.unread}};
  for (const auto& [type, share] : r.types) {
    json["types"][std::string(type)] = {{"tensors", share.tensors}, {"bytes", share.bytes}};
  }
  if (r.text) json["text"] = TextJson(*r.text);
  if (r.vision) json["vision"] = VisionJson(*r.vision);
  if (r.audio) json["audio"] = AudioJson(*r.audio);
  if (r.placement) json.update(PlacementJson(*r.placement));
  json["metadata"] = ordered_json::object();
  for (const auto& [key, value] : r.file.metadata()) {
    json["metadata"][key] = std::visit(JsonValue(), value);
  }
  json["tensors"] = ordered_json::array();
  for (const gguf::Tensor& tensor : r.file.tensors()) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"type", std::string(gguf::Info(tensor.type).name)},
                               {"shape", tensor.dims},
                               {"bytes", tensor.bytes}});
  }
  return json;
}

// ---- Two files

std::string NameOf(const Report& report) {
  return report.file.String("general.name").value_or(report.file.path());
}

// Why two files do not go together; "": they do.
std::string Misfit(const Report& one, const Report& other) {
  const Report& text = one.kind == "text" ? one : other;
  const Report& mmproj = one.kind == "text" ? other : one;
  if (text.kind != "text" || mmproj.kind != "mmproj") {
    return "a pair is a text model and an mmproj file";
  }
  if (!text.servable || !mmproj.servable) return "one of them can't be served";
  const int width = mmproj.vision ? mmproj.vision->projection_dim : mmproj.audio->projection_dim;
  return std::string(CheckWidths({.name = NameOf(text), .width = text.text->dim},
                                 {.name = NameOf(mmproj), .width = width})
                         .message());
}

std::string Verdict(const std::string& misfit) {
  return misfit.empty() ? "they go together" : absl::StrCat("they don't go together: ", misfit);
}

absl::Status PrintMemory(const std::vector<Report>& reports, std::ostream& out) {
  uint64_t bytes = 0;
  for (const Report& report : reports) {
    if (!report.placement) return InvalidFile(report.file.path(), report.use);
    bytes += HostBytes(*report.placement->host);
  }
  out << bytes << "\n";
  return absl::OkStatus();
}

void PrintForPeople(const std::vector<Report>& reports, bool all, const std::string& misfit,
                    std::ostream& out) {
  for (const Report& report : reports) {
    PrintLines(Summary(report), "", out);
    if (all) PrintAll(report, out);
    if (reports.size() > 1) out << "\n";
  }
  if (reports.size() > 1) PrintLines({{"Pair", Verdict(misfit)}}, "", out);
}

ordered_json AllJson(const std::vector<Report>& reports, const std::string& misfit) {
  if (reports.size() == 1) return ToJson(reports[0]);
  ordered_json json = {{"files", ordered_json::array()}, {"pair", Verdict(misfit)}};
  for (const Report& report : reports) json["files"].push_back(ToJson(report));
  return json;
}

}  // namespace

absl::StatusOr<bool> Inspect(const std::vector<std::string>& paths, InspectAs as,
                             std::ostream& out) {
  std::vector<std::unique_ptr<gguf::File>> files;
  std::vector<Report> reports;
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(files.emplace_back(), gguf::File::Open(path));
    reports.push_back(Look(*files.back()));
  }
  const std::string misfit = reports.size() > 1 ? Misfit(reports[0], reports[1]) : "";
  switch (as) {
    case InspectAs::kSummary:
    case InspectAs::kTensors:
      PrintForPeople(reports, as == InspectAs::kTensors, misfit, out);
      break;
    case InspectAs::kJson:
      // File texts need not be UTF-8, JSON must be.
      out << AllJson(reports, misfit).dump(2, ' ', false, ordered_json::error_handler_t::replace)
          << "\n";
      break;
    case InspectAs::kMemory:
      RETURN_IF_ERROR(PrintMemory(reports, out));
      break;
  }
  return misfit.empty() && absl::c_all_of(reports, [](const Report& r) { return r.servable; });
}

}  // namespace softsplice

// See ogg_pages.h; RFC 3533 has the pages, RFC 7845 the positions of Opus.
#include "encoder_svc/audio/ogg_pages.h"

#include <ogg/ogg.h>
#include <opus.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/media/sniff.h"
#include "common/status/error.h"
#include "common/status/macros.h"

namespace softsplice {
namespace {

constexpr size_t kFixedHeader = 27;
constexpr size_t kPositionAt = 6;
constexpr int kOpusRate = 48000;
// libvorbisfile loses memory, some bytes for each stream, where headers are corrupt.
constexpr int kMostStreams = 255;
// Encoders fill the last packet; the longest has 120 ms.
constexpr int64_t kMostCutOff = kOpusRate * 12 / 100;

// A page whose checksum is right.
struct Page {
  size_t at = 0;
  std::string header;
  absl::string_view body;

  // libogg reads the body, and writes the checksum into the header.
  ogg_page view() {
    return {reinterpret_cast<unsigned char*>(header.data()), static_cast<long>(header.size()),
            reinterpret_cast<unsigned char*>(const_cast<char*>(body.data())),
            static_cast<long>(body.size())};
  }
  void SetPosition(int64_t position) {
    for (size_t i = 0; i < 8; ++i) {
      header[kPositionAt + i] = static_cast<char>(static_cast<uint64_t>(position) >> (8 * i));
    }
    ogg_page page = view();
    ogg_page_checksum_set(&page);
  }
};

// The page that begins at `at`; false: there is none.
bool ReadPage(absl::string_view bytes, size_t at, Page& page) {
  const absl::string_view rest = bytes.substr(at);
  if (rest.size() < kFixedHeader) return false;
  const auto segments = static_cast<uint8_t>(rest[kFixedHeader - 1]);
  const size_t header = kFixedHeader + segments;
  if (rest.size() < header) return false;
  size_t body = 0;
  for (const char lacing : rest.substr(kFixedHeader, segments)) {
    body += static_cast<uint8_t>(lacing);
  }
  if (rest.size() < header + body) return false;
  page = {at, std::string(rest.substr(0, header)), rest.substr(header, body)};
  ogg_page checked = page.view();
  ogg_page_checksum_set(&checked);
  return page.header == rest.substr(0, header);
}

// The pages of a file, one after another, as libogg finds them.
class Pages {
 public:
  explicit Pages(absl::string_view bytes) : bytes_(bytes) {}

  // False: there are no more, or too much is in between.
  bool Next(Page& page) {
    for (; damaged_ < kMostDamaged; ++damaged_, ++at_) {
      at_ = bytes_.find("OggS", at_);
      if (at_ == absl::string_view::npos) return false;
      if (ReadPage(bytes_, at_, page)) {
        at_ += page.header.size() + page.body.size();
        return true;
      }
    }
    return false;
  }
  // What begins like a page may claim to be long, and be summed up in vain.
  bool TooDamaged() const { return damaged_ == kMostDamaged; }

 private:
  static constexpr int kMostDamaged = 1000;

  absl::string_view bytes_;
  size_t at_ = 0;
  int damaged_ = 0;
};

// Counts the samples of Opus in one stream.
class Counter {
 public:
  // Adds the packets that end on the page; whether its position may be right: positions may begin
  // anywhere and jump ahead, and the last may leave out a packet or so.
  bool Add(Page& page) {
    const ogg_page view = page.view();
    const int64_t before = samples_;
    size_t begin = 0;
    for (size_t i = kFixedHeader, at = 0; i < page.header.size(); ++i) {
      at += static_cast<uint8_t>(page.header[i]);
      const bool ends = page.header[i] != '\xff';
      // Two bytes tell how long a packet lasts.
      absl::StrAppend(&packet_, page.body.substr(begin, at - begin).substr(0, 2 - packet_.size()));
      begin = at;
      if (ends) EndPacket();
    }
    if (samples_ == before) return true;
    const int64_t last_position = position_;
    position_ = ogg_page_granulepos(&view);
    const int64_t added = samples_ - before;
    const int64_t fewest =
        ogg_page_eos(&view) != 0 ? std::max(added - kMostCutOff, int64_t{1}) : added;
    return position_ >= fewest && position_ - fewest >= last_position;
  }
  // What the position of the page that was added last ought to be.
  int64_t position(Page& page) const {
    const ogg_page view = page.view();
    return ogg_page_packets(&view) == 0 ? -1 : samples_;
  }

 private:
  void EndPacket() {
    if (packets_++ >= 2) {  // behind the header and the tags
      const int samples =
          opus_packet_get_nb_samples(reinterpret_cast<const unsigned char*>(packet_.data()),
                                     static_cast<opus_int32>(packet_.size()), kOpusRate);
      samples_ += std::max(samples, 0);
    }
    packet_.clear();
  }

  int packets_ = 0;
  std::string packet_;  // the beginning of one that goes on
  int64_t samples_ = 0, position_ = 0;
};

// One stream of a file, which may hold several, one after another or interleaved.
struct Stream {
  size_t begin = 0;
  bool opus = false, vorbis = false;
  long next_page = 0;
  Counter counter;
};

// The streams whose pages have been seen so far, by their numbers.
class Streams {
 public:
  // The stream of the next page; null: its beginning was not there.
  Stream* Of(Page& page) {
    const ogg_page view = page.view();
    const int serial = ogg_page_serialno(&view);
    if (ogg_page_bos(&view) != 0) {
      ++begun_;
      streams_[serial] = {.begin = page.at,
                          .opus = absl::StartsWith(page.body, "OpusHead"),
                          .vorbis = absl::StartsWith(page.body, "\x01vorbis")};
    }
    const auto found = streams_.find(serial);
    return found == streams_.end() ? nullptr : &found->second;
  }
  bool TooMany() const { return begun_ > kMostStreams; }

 private:
  std::map<int, Stream> streams_;
  int begun_ = 0;
};

absl::Status CheckNumber(Page& page, Stream& stream) {
  const ogg_page view = page.view();
  const long number = ogg_page_pageno(&view);
  if ((stream.opus || stream.vorbis) && number != stream.next_page) {
    return InvalidMedia(absl::StrCat("the OGG is damaged: page ", stream.next_page,
                                     " of its sound is missing or corrupt, ", number,
                                     " comes next"));
  }
  stream.next_page = number + 1;
  return absl::OkStatus();
}

// Counts the streams anew that begin at one of `wrong`.
std::string Recount(absl::string_view bytes, const std::set<size_t>& wrong) {
  std::string out(bytes);
  Pages pages(bytes);
  Streams streams;
  for (Page page; pages.Next(page);) {
    Stream* stream = streams.Of(page);
    if (stream == nullptr || !wrong.contains(stream->begin)) continue;
    stream->counter.Add(page);
    page.SetPosition(stream->counter.position(page));
    out.replace(page.at, page.header.size(), page.header);
  }
  return out;
}

}  // namespace

absl::StatusOr<absl::string_view> ReadOggPages(absl::string_view bytes, std::string& recounted) {
  Pages pages(bytes);
  Streams streams;
  std::set<size_t> wrong;  // where streams begin
  for (Page page; pages.Next(page);) {
    Stream* stream = streams.Of(page);
    if (streams.TooMany()) {
      return InvalidMedia(absl::StrCat("the OGG holds more than ", kMostStreams, " streams"));
    }
    if (stream == nullptr) continue;
    RETURN_IF_ERROR(CheckNumber(page, *stream));
    if (stream->opus && !stream->counter.Add(page)) wrong.insert(stream->begin);
  }
  if (pages.TooDamaged()) return InvalidMedia("the OGG is damaged in too many places");
  if (wrong.empty()) return bytes;
  recounted = Recount(bytes, wrong);
  return recounted;
}

}  // namespace softsplice

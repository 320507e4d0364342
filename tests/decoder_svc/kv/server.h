// A server as the caches see it, on a device whose keys and values are a hash of all that is before
// them, and of whose they are: each read is checked to see what it would see in a fresh one.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "decoder_svc/kv/kv_manager.h"
#include "tests/decoder_svc/kv/accounts.h"

namespace softsplice {

// 0, 1, ... of a kind that no other has.
inline std::vector<Content> Text(uint64_t kind, int positions) {
  std::vector<Content> text;
  for (int i = 0; i < positions; ++i) text.push_back(kind << 20 | static_cast<uint64_t>(i));
  return text;
}
inline std::vector<Content> operator+(std::vector<Content> a, const std::vector<Content>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Sizes {
  int sequences = 4;
  int context = 16384;
  int chunk = 512;
  int full_blocks = 1024;
  int resume_points = 16;
};

class Server {
 public:
  static constexpr int kWindow = 512;
  static constexpr int kBlock = 128;

  struct Running {
    SequenceKv kv;
    std::vector<Content> contents;
    int prompt = 0;
    int read = 0;
    std::vector<Content> hashes = {};
  };

  explicit Server(const Sizes& sizes = {})
      : shape_(ShapeOf(sizes)),
        chunk_(sizes.chunk),
        manager_(shape_),
        full_(static_cast<size_t>(shape_.full_blocks) * kBlock),
        sliding_(static_cast<size_t>(shape_.sliding_blocks) * kBlock) {}

  std::optional<Running> Begin(const std::vector<Content>& prompt, int answer = 0,
                               const std::string& scope = "", bool shared = true) {
    std::vector<BlockCopy> copies;
    auto kv = manager_.Admit({.scope = scope,
                              .shared = shared,
                              .prompt = prompt,
                              .positions = static_cast<int>(prompt.size()) + answer},
                             copies);
    if (!kv) return std::nullopt;
    for (const BlockCopy& copy : copies) {
      auto& pool = copy.sliding ? sliding_ : full_;
      std::copy_n(pool.begin() + copy.from * kBlock, kBlock, pool.begin() + copy.to * kBlock);
    }
    manager_.CountMisses(*kv);
    const int cached = kv->cached;
    return Running{*std::move(kv), prompt, static_cast<int>(prompt.size()), cached};
  }

  // Reads up to so many rows more, and checks that each sees what it would see in a fresh read; but
  // a single row, which is one of many, not far back.
  void Step(Running& r, int rows) {
    rows = std::min(rows, static_cast<int>(r.contents.size()) - r.read);
    const int end = r.read + rows;
    manager_.Extend(r.kv, r.read, rows);
    ExtendHashes(r);
    for (int p = r.read; p < end; ++p) At(r, p, full_, false) = r.hashes[p];
    for (int p = r.read; p < end; ++p) At(r, p, sliding_, true) = r.hashes[p];
    ExpectHashes(r, rows > 1 ? 0 : std::max(0, r.read - 2 * kBlock), end, full_, false);
    ExpectHashes(r, std::max(0, r.read - (kWindow - 1)), end, sliding_, true);
    r.read += rows;
    manager_.Commit(r.kv, Read(r), rows);
    if (r.read == r.prompt) manager_.EndTurn(r.kv, Read(r));
  }
  void ReadPrompt(Running& r) {
    while (r.read < r.prompt && !testing::Test::HasFatalFailure()) {
      Step(r, std::min(chunk_, r.prompt - r.read));
    }
  }
  void Write(Running& r, const std::vector<Content>& answer) {
    for (const Content content : answer) {
      r.contents.push_back(content);
      Step(r, 1);
    }
  }
  void Finish(Running& r) {
    manager_.EndTurn(r.kv, Read(r));
    manager_.Release(r.kv);
  }
  void Cancel(Running& r) { manager_.Release(r.kv); }

  // A whole request; returns what was cached of its prompt.
  int Serve(const std::vector<Content>& prompt, const std::vector<Content>& answer,
            const std::string& scope = "", bool shared = true) {
    auto running = Begin(prompt, static_cast<int>(answer.size()), scope, shared);
    EXPECT_TRUE(running.has_value());
    if (!running) return -1;
    const int cached = running->kv.cached;
    ReadPrompt(*running);
    Write(*running, answer);
    Finish(*running);
    return cached;
  }

  KvManager& manager() { return manager_; }

  void ExpectAllBlocksAccountedFor(const std::vector<Running>& running) const {
    std::vector<const SequenceKv*> sequences;
    for (const Running& r : running) sequences.push_back(&r.kv);
    ASSERT_TRUE(AllBlocksAddUp(manager_, sequences));
  }

 private:
  static KvShape ShapeOf(const Sizes& sizes) {
    KvShape shape = KvShape::Least(sizes.sequences, sizes.context, kWindow, sizes.chunk);
    shape.full_blocks = sizes.full_blocks;
    shape.resume_points = sizes.resume_points;
    shape.sliding_blocks += sizes.resume_points * shape.BlocksOfWindow();
    return shape;
  }

  // Of each position, and all before it.
  static void ExtendHashes(Running& r) {
    for (size_t i = r.hashes.size(); i < r.contents.size(); ++i) {
      const Content before = i == 0 ? std::hash<std::string>()(r.kv.scope) : r.hashes[i - 1];
      r.hashes.push_back((before ^ r.contents[i]) * 1099511628211u);
    }
  }
  void ExpectHashes(const Running& r, int begin, int end, std::vector<Content>& pool,
                    bool sliding) {
    for (int p = begin; p < end;) {
      const int next = std::min(end, (p / kBlock + 1) * kBlock);
      ASSERT_TRUE(std::equal(&r.hashes[p], &r.hashes[p] + (next - p), &At(r, p, pool, sliding)))
          << (sliding ? "sliding" : "full") << ", positions " << p << " to " << next - 1;
      p = next;
    }
  }
  Content& At(const Running& r, int p, std::vector<Content>& pool, bool sliding) {
    const BlockTable& blocks = r.kv.blocks;
    const size_t index = static_cast<size_t>(p / kBlock);
    const int32_t block =
        sliding ? blocks.sliding[index % blocks.sliding.size()] : blocks.full[index];
    return pool[static_cast<size_t>(block) * kBlock + p % kBlock];
  }
  absl::Span<const Content> Read(const Running& r) const {
    return absl::MakeConstSpan(r.contents).first(r.read);
  }

  const KvShape shape_;
  const int chunk_;
  KvManager manager_;
  std::vector<Content> full_, sliding_;
};

}  // namespace softsplice

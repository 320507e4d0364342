// Matrices as tests and benchmarks use them: made and read on the host, worked on in a backend's
// memory. A HostMat is not a Mat, so that no op can be given the host's memory by mistake.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/gguf/file.h"
#include "kernels/backend.h"

namespace softsplice::testing {

// A matrix that owns its memory. What lies between its rows (`padding` numbers), before the first
// and behind the last is guard values: NaN in every float type, no index among the integers.
class HostMat {
 public:
  HostMat(int rows, int cols, int padding = 0, DType type = DType::kF32)
      : rows_(rows), cols_(cols), pitch_(cols + padding), type_(type) {
    bytes_.assign(2 * kMargin + static_cast<size_t>(rows) * RowBytes(), kGuard);
  }
  static HostMat Normal(std::mt19937& random, int rows, int cols, int padding = 0,
                        float scale = 1) {
    HostMat mat(rows, cols, padding);
    std::normal_distribution<float> normal(0, scale);
    for (int r = 0; r < rows; ++r) std::generate_n(mat[r], cols, [&] { return normal(random); });
    return mat;
  }
  static HostMat Ints(const std::vector<int>& values) {
    HostMat mat(static_cast<int>(values.size()), 1, 0, DType::kI32);
    std::copy(values.begin(), values.end(), mat.Row<int32_t>(0));
    return mat;
  }

  template <class T>
  T* Row(int r) {
    return reinterpret_cast<T*>(&bytes_[kMargin] + static_cast<size_t>(r) * RowBytes());
  }
  template <class T>
  const T* Row(int r) const {
    return const_cast<HostMat*>(this)->Row<T>(r);
  }
  float* operator[](int r) { return Row<float>(r); }
  const float* operator[](int r) const { return Row<float>(r); }
  float& operator()(int r, int c) { return (*this)[r][c]; }
  float operator()(int r, int c) const { return (*this)[r][c]; }
  int rows() const { return rows_; }
  int cols() const { return cols_; }

  // A copy of the rows [first, first + count).
  HostMat Rows(int first, int count) const {
    HostMat part(count, cols_, pitch_ - cols_, type_);
    std::copy_n(Row<uint8_t>(first), static_cast<size_t>(count) * RowBytes(), part.Row<uint8_t>(0));
    return part;
  }
  // Whether every bit is the same, shapes and guards included.
  bool operator==(const HostMat& other) const {
    return cols_ == other.cols_ && pitch_ == other.pitch_ && bytes_ == other.bytes_;
  }

  // Whether nothing was written outside of the rows.
  bool GuardsIntact() const {
    const auto intact = [](const uint8_t* from, const uint8_t* to) {
      return std::all_of(from, to, [](uint8_t byte) { return byte == kGuard; });
    };
    const uint8_t* end = &bytes_[0] + kMargin;  // of the row before
    for (int r = 0; r < rows_; ++r) {
      if (!intact(end, Row<uint8_t>(r))) return false;
      end = Row<uint8_t>(r) + static_cast<size_t>(cols_) * SizeOf(type_);
    }
    return intact(&bytes_[0], &bytes_[kMargin]) && intact(end, &bytes_[0] + bytes_.size());
  }

 private:
  friend class Device;
  static constexpr uint8_t kGuard = 0xff;
  static constexpr size_t kMargin = 256;  // as matrices of a backend are aligned

  size_t RowBytes() const { return static_cast<size_t>(pitch_) * SizeOf(type_); }

  int rows_;
  int cols_;
  int pitch_;
  DType type_;
  std::vector<uint8_t> bytes_;
};

// A float32 tensor [cols, rows] over a matrix without padding, which must outlive it.
inline gguf::Tensor FloatTensor(const HostMat& mat) {
  return {.name = "test",
          .type = gguf::Type::kF32,
          .dims = {mat.cols(), mat.rows()},
          .data = mat.Row<uint8_t>(0),
          .bytes = static_cast<size_t>(mat.rows()) * static_cast<size_t>(mat.cols()) * 4};
}

// What one test keeps in a backend's memory, and the backend itself: `on->Add(y, on.Copy(x))`.
// All that it gives out lives as long as it does.
class Device {
 public:
  explicit Device(Backend& backend) : backend_(backend) {}
  ~Device() { (void)backend_.Wait(); }  // ops may still be reading
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Backend& operator*() const { return backend_; }
  Backend* operator->() const { return &backend_; }

  // A matrix like `host`, guards included.
  Mat Copy(const HostMat& host) {
    std::shared_ptr<void> memory = *backend_.Allocate(host.bytes_.size());
    backend_.Upload(AllOf(memory, host), host.bytes_.data());
    const Mat mat{static_cast<char*>(memory.get()) + HostMat::kMargin, host.rows_, host.cols_,
                  host.pitch_, host.type_};
    memory_.push_back({std::move(memory), mat});
    return mat;
  }
  // Full of guard values: what an op should have written and did not shows.
  Mat New(int rows, int cols, int padding = 0, DType type = DType::kF32) {
    return Copy(HostMat(rows, cols, padding, type));
  }
  Mat Ints(const std::vector<int>& values) { return Copy(HostMat::Ints(values)); }

  const Weight& Pack(const gguf::Tensor& tensor, Use use) {
    return weights_.emplace_back(*backend_.Pack(tensor, use));
  }
  const Weight& Vector(const HostMat& mat) { return Pack(FloatTensor(mat), Use::kVector); }

  // Waits, and gives what is in a matrix of this device now. The first error of the ops before it;
  // DATA_LOSS when something was written outside of its rows.
  absl::StatusOr<HostMat> Read(Mat mat) {
    const auto twin = std::find_if(memory_.begin(), memory_.end(),
                                   [&](const Twin& t) { return t.mat.data == mat.data; });
    if (twin == memory_.end()) return absl::NotFoundError("not a matrix of this device");
    HostMat host(twin->mat.rows, twin->mat.cols, twin->mat.pitch - twin->mat.cols, twin->mat.type);
    backend_.Download(host.bytes_.data(), AllOf(twin->memory, host));
    if (absl::Status status = backend_.Wait(); !status.ok()) return status;
    if (!host.GuardsIntact()) return absl::DataLossError("written outside of a matrix's rows");
    return host;
  }

 private:
  struct Twin {
    std::shared_ptr<void> memory;
    Mat mat;
  };

  // Rows and guards as one row of the smallest type, so that all of it travels.
  static Mat AllOf(const std::shared_ptr<void>& memory, const HostMat& host) {
    const int halves = static_cast<int>(host.bytes_.size() / SizeOf(DType::kF16));
    return {memory.get(), 1, halves, halves, DType::kF16};
  }

  Backend& backend_;
  std::vector<Twin> memory_;
  std::deque<Weight> weights_;
};

}  // namespace softsplice::testing

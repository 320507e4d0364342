// Adds tensors to a model, under names with one prefix.
#pragma once

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/random_model/model.h"

namespace softsplice::random_model {

class Tensors {
 public:
  explicit Tensors(Model& model, std::string prefix = "")
      : model_(model), prefix_(std::move(prefix)), random_(std::hash<std::string>()(prefix_)) {}

  // Random numbers of this deviation.
  void Normal(const std::string& name, gguf::Type type, const std::vector<uint64_t>& dims,
              double deviation);
  // A layer that gives outputs `gain` times as large as its inputs.
  void Linear(const std::string& name, gguf::Type type, int in, int out, double gain = 1);
  // The same, and bounds that clip some of its inputs and outputs.
  void Clipped(const std::string& name, gguf::Type type, int in, int out, float bound_in = 2.2f,
               float bound_out = 2.2f, double gain = 1);
  // `count` numbers between `low` and `high`.
  void Uniform(const std::string& name, int count, float low, float high);
  void Values(const std::string& name, std::vector<float> values);

 private:
  Model& model_;
  std::string prefix_;
  std::mt19937 random_;
};

// Of the name of a tensor type ("Q4_0"). INVALID_ARGUMENT: no such type.
absl::StatusOr<gguf::Type> TypeOf(absl::string_view name);

}  // namespace softsplice::random_model

#include "common/gguf/types.h"

#include "absl/base/macros.h"

namespace softsplice::gguf {
namespace {

constexpr TypeInfo kTypes[] = {
    {Type::kF32, "F32", 1, 4},           {Type::kF16, "F16", 1, 2},
    {Type::kBF16, "BF16", 1, 2},         {Type::kQ4_0, "Q4_0", 32, 18},
    {Type::kQ4_1, "Q4_1", 32, 20},       {Type::kQ5_0, "Q5_0", 32, 22},
    {Type::kQ5_1, "Q5_1", 32, 24},       {Type::kQ8_0, "Q8_0", 32, 34},
    {Type::kQ2_K, "Q2_K", 256, 84},      {Type::kQ3_K, "Q3_K", 256, 110},
    {Type::kQ4_K, "Q4_K", 256, 144},     {Type::kQ5_K, "Q5_K", 256, 176},
    {Type::kQ6_K, "Q6_K", 256, 210},     {Type::kIQ4_NL, "IQ4_NL", 32, 18},
    {Type::kIQ4_XS, "IQ4_XS", 256, 136},
};

}  // namespace

absl::Span<const TypeInfo> AllTypes() { return kTypes; }

const TypeInfo* FindType(uint32_t type) {
  for (const TypeInfo& info : kTypes) {
    if (static_cast<uint32_t>(info.type) == type) return &info;
  }
  return nullptr;
}

const TypeInfo& Info(Type type) {
  const TypeInfo* info = FindType(static_cast<uint32_t>(type));
  ABSL_ASSERT(info != nullptr);
  return *info;
}

}  // namespace softsplice::gguf

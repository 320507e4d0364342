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

constexpr TypeInfo Unread(uint32_t number, absl::string_view name, int elements, int bytes) {
  return {static_cast<Type>(number), name, elements, bytes};
}

constexpr TypeInfo kUnreadTypes[] = {
    Unread(9, "Q8_1", 32, 36),     Unread(15, "Q8_K", 256, 292),   Unread(16, "IQ2_XXS", 256, 66),
    Unread(17, "IQ2_XS", 256, 74), Unread(18, "IQ3_XXS", 256, 98), Unread(19, "IQ1_S", 256, 50),
    Unread(21, "IQ3_S", 256, 110), Unread(22, "IQ2_S", 256, 82),   Unread(24, "I8", 1, 1),
    Unread(25, "I16", 1, 2),       Unread(26, "I32", 1, 4),        Unread(27, "I64", 1, 8),
    Unread(28, "F64", 1, 8),       Unread(29, "IQ1_M", 256, 56),   Unread(34, "TQ1_0", 256, 54),
    Unread(35, "TQ2_0", 256, 66),  Unread(39, "MXFP4", 32, 17),    Unread(40, "NVFP4", 64, 36),
};

const TypeInfo* FindIn(absl::Span<const TypeInfo> types, uint32_t number) {
  for (const TypeInfo& info : types) {
    if (static_cast<uint32_t>(info.type) == number) return &info;
  }
  return nullptr;
}

}  // namespace

absl::Span<const TypeInfo> AllTypes() { return kTypes; }

bool IsRead(Type type) { return FindIn(kTypes, static_cast<uint32_t>(type)) != nullptr; }

const TypeInfo* FindType(uint32_t type) {
  const TypeInfo* read = FindIn(kTypes, type);
  return read != nullptr ? read : FindIn(kUnreadTypes, type);
}

const TypeInfo& Info(Type type) {
  const TypeInfo* info = FindType(static_cast<uint32_t>(type));
  ABSL_ASSERT(info != nullptr);
  return *info;
}

}  // namespace softsplice::gguf

// See backend_factory.h.
#include "kernels/backend_factory.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status/error.h"
#include "common/status/macros.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/cpus.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/ref/ref_backend.h"

namespace softsplice {
namespace {

std::optional<Isa> IsaOf(const std::string& name) {
  if (name == "cpu") return BestIsa();
  for (const Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (name == absl::StrCat("cpu-", IsaName(isa))) return isa;
  }
  return std::nullopt;
}

CudaOptions CudaOptionsOf(const BackendOptions& options) {
  return {.device = options.device,
          .exact = options.exact_weights,
          .wait_after_ops = options.wait_after_ops,
          .large_tables_on_host = options.large_tables_on_host};
}

struct Processor {
  Isa isa;
  int threads;
};

absl::StatusOr<Processor> ProcessorOf(const BackendOptions& options) {
  const std::optional<Isa> isa = IsaOf(options.name);
  if (!isa.has_value()) {
    return InvalidField("backend", absl::StrCat("there is no backend \"", options.name,
                                                "\"; there are ref, cpu, cpu-generic, cpu-avx2, "
                                                "cpu-avx512, cuda"));
  }
  if (!Supported(*isa)) {
    return InvalidField("backend", absl::StrCat("this machine cannot run ", options.name));
  }
  if (options.threads < 0) {
    return InvalidField("threads", absl::StrCat(options.threads, " threads; at least 0"));
  }
  return Processor{*isa, options.threads == 0 ? AvailableCpus() : options.threads};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const BackendOptions& options) {
  if (options.name == "ref") return MakeRefBackend();
  if (options.name == "cuda") return MakeCudaBackend(CudaOptionsOf(options));
  ASSIGN_OR_RETURN(const Processor cpu, ProcessorOf(options));
  return MakeCpuBackend(cpu.isa, cpu.threads, options.exact_weights);
}

absl::StatusOr<std::unique_ptr<CountingBackend>> MakeCounter(const BackendOptions& options,
                                                             int ranks) {
  if (options.name == "cuda") {
    return MakeDeviceCounter(options.exact_weights, ranks, options.large_tables_on_host);
  }
  ASSIGN_OR_RETURN(const Processor cpu, ProcessorOf(options));
  return MakeCpuCounter(cpu.isa, cpu.threads, options.exact_weights);
}

absl::StatusOr<std::vector<std::unique_ptr<Backend>>> MakeRanks(const BackendOptions& options,
                                                                absl::Span<const int> devices,
                                                                absl::Duration limit) {
  return MakeCudaRanks(CudaOptionsOf(options), devices, limit);
}

}  // namespace softsplice

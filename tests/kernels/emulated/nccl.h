// The part of NCCL that kernels/cuda uses, emulated for tests (nccl.cc): what a host compiler finds
// instead of NCCL's header of that name. The library is one of its own, which a program loads. It
// knows non-blocking communicators only, and answers late.
#pragma once

#include <cstddef>

#include "tests/kernels/emulated/cuda_runtime.h"

extern "C" {

using ncclComm_t = struct EmulatedComm*;
struct ncclUniqueId {
  char internal[128];
};
enum ncclResult_t {  // NCCL's numbers
  ncclSuccess = 0,
  ncclInvalidArgument = 4,
  ncclInvalidUsage = 5,
  ncclRemoteError = 6,
  ncclInProgress = 7,
};
enum ncclDataType_t { ncclFloat32 = 7 };
enum ncclRedOp_t { ncclSum = 0 };
struct ncclConfig_t {
  int blocking;
};
#define NCCL_CONFIG_INITIALIZER \
  { 1 }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id);
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config);
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error);
ncclResult_t ncclCommAbort(ncclComm_t comm);
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream);
const char* ncclGetErrorString(ncclResult_t error);

}  // extern "C"

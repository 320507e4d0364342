// Tries what its argument says behind softsplice-ffmpeg's fence, and ends with 0 if it may.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "encoder_svc/ffmpeg/messages.h"
#include "encoder_svc/ffmpeg/sandbox.h"

namespace {

using namespace softsplice;

// Whether so much can be had, and used.
bool Allocate(size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr) return false;
  std::memset(memory, 1, bytes);
  std::free(memory);
  return true;
}

bool Try(const std::string& what) {
  if (what == "nothing") return true;
  if (what == "memory") return Allocate(kFfmpegHeapBytes / 2);
  if (what == "too much memory") return Allocate(kFfmpegHeapBytes + (1 << 20));
  if (what == "a file") return open("/dev/null", O_RDONLY) >= 0;
  if (what == "a socket") return socket(AF_INET, SOCK_STREAM, 0) >= 0;
  if (what == "a process") return fork() >= 0;
  if (what == "a program") return execl("/bin/true", "true", nullptr) == 0;
  if (what == "a signal") return kill(getppid(), 0) == 0;
  const int code = PROT_READ | PROT_WRITE | PROT_EXEC;
  if (what == "code") return mmap(nullptr, 4096, code, MAP_PRIVATE | MAP_ANON, -1, 0) != MAP_FAILED;
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr int kNoSandbox = 3;
  if (argc < 2 || !EnterSandbox(kFfmpegHeapBytes)) _exit(kNoSandbox);
  _exit(Try(argv[1]) ? 0 : 1);
}

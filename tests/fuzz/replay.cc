// Gives a fuzz target every file of the folders named on the command line, and some noise.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr int kNoises = 200;
constexpr int kMostNoiseBytes = 2000;

void Give(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      Give({std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()});
      ++files;
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < kNoises; ++i) {
    std::string noise(random() % kMostNoiseBytes, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    Give(noise);
  }
  std::cout << files << " files and " << kNoises << " noises\n";
  return argc > 1 && files == 0 ? 1 : 0;
}

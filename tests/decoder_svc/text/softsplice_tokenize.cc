// softsplice-tokenize FILE: tokenises strings with the vocabulary of a GGUF file. Each string comes
// on standard input as a flag byte (1: control tokens are parsed), its length as four little-endian
// bytes, and its bytes; its ids go to standard output on a line.
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/str_join.h"
#include "common/gguf/file.h"
#include "decoder_svc/text/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: softsplice-tokenize FILE.gguf < strings\n");
    return 2;
  }
  const auto file = softsplice::gguf::File::Open(argv[1]);
  if (!file.ok()) {
    fprintf(stderr, "%s\n", file.status().ToString().c_str());
    return 1;
  }
  const auto tokenizer = softsplice::Tokenizer::FromGguf(**file);
  if (!tokenizer.ok()) {
    fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  uint8_t header[5];
  while (fread(header, 1, sizeof(header), stdin) == sizeof(header)) {
    const uint32_t size = header[1] | uint32_t{header[2]} << 8 | uint32_t{header[3]} << 16 |
                          uint32_t{header[4]} << 24;
    std::string text(size, '\0');
    if (fread(text.data(), 1, size, stdin) != size) {
      fprintf(stderr, "the last string is cut off\n");
      return 1;
    }
    printf("%s\n", absl::StrJoin((*tokenizer)->Encode(text, header[0] != 0), " ").c_str());
  }
  return 0;
}

// Asks a decoder about a picture and prints the answer as it comes.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "softsplice/v1/decoder.grpc.pb.h"

namespace {

// gRPC itself retries calls that were refused, when the server says.
constexpr char kRetries[] = R"({"methodConfig": [{
  "name": [{"service": "softsplice.v1.DecoderService"}],
  "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "10s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}}]})";
constexpr std::chrono::seconds kDeadline(300);

std::string ReadFile(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

grpc::Status Ask(const std::string& server, const std::string& picture,
                 const std::string& question) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kRetries);
  const auto stub = softsplice::v1::DecoderService::NewStub(
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
  softsplice::v1::GenerateRequest request;
  auto* message = request.mutable_chat()->add_messages();
  message->set_role(softsplice::v1::ROLE_USER);
  message->add_parts()->mutable_media()->set_data(ReadFile(picture));
  message->add_parts()->set_text(question);
  request.mutable_sampling()->set_temperature(0);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kDeadline);
  const auto stream = stub->Generate(&context, request);
  for (softsplice::v1::GenerateResponse event; stream->Read(&event);) {
    std::cout << event.delta().text() << std::flush;
  }
  return stream->Finish();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "Usage: ask SERVER PICTURE QUESTION\n";
    return 2;
  }
  const grpc::Status status = Ask(argv[1], argv[2], argv[3]);
  if (!status.ok()) {
    std::cerr << "gRPC status " << status.error_code() << ": " << status.error_message() << "\n";
    return 1;
  }
  std::cout << "\n";
  return 0;
}

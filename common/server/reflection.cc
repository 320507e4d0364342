#include "common/server/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/support/server_callback.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/server/gate.h"
#include "common/server/raw_message.h"
#include "common/server/status.h"
#include "common/status/error.h"
#include "common/status/reasons.h"
#include "common/time/steady.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"

namespace softsplice {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

// Both versions of the protocol have the same messages in different packages.
struct V1 {
  using Service = grpc::reflection::v1::ServerReflection;
  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;
};
struct V1Alpha {
  using Service = grpc::reflection::v1alpha::ServerReflection;
  using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = grpc::reflection::v1alpha::ServerReflectionResponse;
};

// `file` and all that it imports, each once, imports after their importer.
void AddFiles(const FileDescriptor& file, std::set<std::string>* seen,
              std::vector<std::string>* serialized) {
  if (!seen->insert(file.name()).second) return;
  google::protobuf::FileDescriptorProto proto;
  file.CopyTo(&proto);
  serialized->push_back(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) {
    AddFiles(*file.dependency(i), seen, serialized);
  }
}

template <class Response>
void SetNotFound(const std::string& what, Response* response) {
  auto* error = response->mutable_error_response();
  error->set_error_code(grpc::StatusCode::NOT_FOUND);
  error->set_error_message(absl::StrCat("not found: ", what));
}

template <class Response>
void SetFile(const FileDescriptor* file, const std::string& what, Response* response) {
  if (file == nullptr) return SetNotFound(what, response);
  std::set<std::string> seen;
  std::vector<std::string> serialized;
  AddFiles(*file, &seen, &serialized);
  for (std::string& bytes : serialized) {
    response->mutable_file_descriptor_response()->add_file_descriptor_proto(std::move(bytes));
  }
}

template <class Version>
typename Version::Response Answer(const typename Version::Request& request,
                                  const std::vector<std::string>& services) {
  using Request = typename Version::Request;
  const DescriptorPool& pool = *DescriptorPool::generated_pool();
  typename Version::Response response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& name : services) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case Request::kFileByFilename:
      SetFile(pool.FindFileByName(request.file_by_filename()), request.file_by_filename(),
              &response);
      break;
    case Request::kFileContainingSymbol:
      SetFile(pool.FindFileContainingSymbol(request.file_containing_symbol()),
              request.file_containing_symbol(), &response);
      break;
    case Request::kFileContainingExtension: {
      const auto& extension = request.file_containing_extension();
      const auto* type = pool.FindMessageTypeByName(extension.containing_type());
      const FieldDescriptor* field =
          type == nullptr ? nullptr
                          : pool.FindExtensionByNumber(type, extension.extension_number());
      SetFile(field == nullptr ? nullptr : field->file(), extension.containing_type(), &response);
      break;
    }
    case Request::kAllExtensionNumbersOfType: {
      const std::string& name = request.all_extension_numbers_of_type();
      const auto* type = pool.FindMessageTypeByName(name);
      if (type == nullptr) {
        SetNotFound(name, &response);
        break;
      }
      auto* numbers = response.mutable_all_extension_numbers_response();
      numbers->set_base_type_name(name);
      std::vector<const FieldDescriptor*> extensions;
      pool.FindAllExtensions(type, &extensions);
      for (const FieldDescriptor* field : extensions)
        numbers->add_extension_number(field->number());
      break;
    }
    case Request::MESSAGE_REQUEST_NOT_SET: {
      auto* error = response.mutable_error_response();
      error->set_error_code(grpc::StatusCode::INVALID_ARGUMENT);
      error->set_error_message("message_request is not set");
      break;
    }
  }
  return response;
}

// Answers one question at a time until the client is done, or asks nothing for too long.
template <class Version>
class ReflectionCall final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, typename Version::Response>,
      public Border::Guest,
      public std::enable_shared_from_this<ReflectionCall<Version>> {
 public:
  ReflectionCall(const std::vector<std::string>& services, Border& border)
      : services_(services), border_(border) {}

  // Once it is owned by a shared pointer. `status`: not OK, the caller may not call.
  void Start(absl::Status status) {
    self_ = this->shared_from_this();
    if (status.ok()) status = border_.Enter(self_, /*light=*/true);
    const std::lock_guard lock(mutex_);
    if (!status.ok()) return End(status);
    this->StartRead(&bytes_);
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    if (!ok) return End(absl::OkStatus());
    typename Version::Request request;
    const absl::Status status = ParseSmall(bytes_, &request);
    bytes_.Clear();
    if (!status.ok()) return End(status);
    response_ = Answer<Version>(request, services_);
    this->StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (ended_) return;
    if (!ok) return End(absl::OkStatus());
    answered_ = SteadyNow();
    this->StartRead(&bytes_);
  }
  void OnCancel() override { EndLater(absl::CancelledError()); }
  void OnDone() override {
    border_.Leave(this);
    // Ends this object's life, unless the border looks at it right now.
    const auto self = std::move(self_);
  }

  void OnTick(absl::Duration now) override {
    {
      const std::lock_guard lock(mutex_);
      if (now - answered_ < border_.options().upload_limit) return;
    }
    EndLater(MakeError(absl::StatusCode::kResourceExhausted, "the client asked nothing more",
                       {.reason = reason::kClientTooSlow}));
  }
  void OnDrain() override {
    EndLater(MakeError(absl::StatusCode::kUnavailable, "the service is stopping",
                       {.reason = reason::kDraining, .retry_after = absl::Seconds(1)}));
  }
  void OnDrainDeadline() override { OnDrain(); }

 private:
  void EndLater(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    End(status);
  }
  // Under mutex_.
  void End(const absl::Status& status) {
    if (!std::exchange(ended_, true)) this->Finish(ToGrpcStatus(status));
  }

  const std::vector<std::string>& services_;
  Border& border_;
  std::mutex mutex_;
  std::shared_ptr<ReflectionCall> self_;  // until OnDone
  bool ended_ = false;
  absl::Duration answered_ = SteadyNow();
  grpc::ByteBuffer bytes_;
  typename Version::Response response_;
};

template <class Version>
class ReflectionService final : public RawService {
 public:
  ReflectionService(std::vector<std::string> services, Border& border)
      : services_(std::move(services)) {
    Serve<typename Version::Response>(
        absl::StrCat("/", Version::Service::service_full_name(), "/ServerReflectionInfo"),
        [this, &border](grpc::CallbackServerContext* context) {
          const auto call = std::make_shared<ReflectionCall<Version>>(services_, border);
          call->Start(Admit(border.gate(), *context).status());
          return call.get();
        });
  }

 private:
  const std::vector<std::string> services_;
};

// Descriptors are only in the pool if the program links their files, and nothing else names these:
// the error details go into an Any.
void LinkDescriptors() {
  google::rpc::Status::descriptor();
  google::rpc::ErrorInfo::descriptor();
}

}  // namespace

std::vector<std::unique_ptr<grpc::Service>> MakeReflectionServices(
    std::vector<std::string> services, Border& border) {
  LinkDescriptors();
  services.insert(services.end(), {"grpc.health.v1.Health", V1::Service::service_full_name(),
                                   V1Alpha::Service::service_full_name()});
  std::vector<std::unique_ptr<grpc::Service>> made;
  made.push_back(std::make_unique<ReflectionService<V1>>(services, border));
  made.push_back(std::make_unique<ReflectionService<V1Alpha>>(services, border));
  return made;
}

}  // namespace softsplice

#include "deploy/cli/bench/http.h"

#include <curl/curl.h>

#include <memory>

#include "absl/strings/str_cat.h"

namespace softsplice::bench {
namespace {

using Receive = std::function<void(absl::string_view)>;
using Stop = std::function<bool()>;

size_t OnBytes(char* bytes, size_t, size_t count, void* receive) {
  (*static_cast<const Receive*>(receive))({bytes, count});
  return count;
}

int OnProgress(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return (*static_cast<const Stop*>(stop))() ? 1 : 0;
}

absl::Status Failure(CURLcode code, const std::string& url) {
  const std::string message = absl::StrCat(url, ": ", curl_easy_strerror(code));
  if (code == CURLE_OPERATION_TIMEDOUT) return absl::DeadlineExceededError(message);
  if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError(message);
  return absl::UnavailableError(message);
}

}  // namespace

absl::StatusOr<int> SendHttp(const HttpRequest& request, const Stop& stop, const Receive& receive) {
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  curl_slist* fields = curl_slist_append(nullptr, "Content-Type: application/json");
  // Else a large body waits for the server's leave, up to a second.
  fields = curl_slist_append(fields, "Expect:");
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> header(fields, curl_slist_free_all);
  const auto set = [&](CURLoption option, auto value) {
    curl_easy_setopt(curl.get(), option, value);
  };
  set(CURLOPT_URL, request.url.c_str());
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(absl::ToInt64Milliseconds(request.timeout)));
  if (!request.body.empty()) {
    set(CURLOPT_HTTPHEADER, header.get());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.data());
  }
  set(CURLOPT_WRITEFUNCTION, OnBytes);
  set(CURLOPT_WRITEDATA, const_cast<Receive*>(&receive));
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, OnProgress);
  set(CURLOPT_XFERINFODATA, const_cast<Stop*>(&stop));
  if (const CURLcode code = curl_easy_perform(curl.get()); code != CURLE_OK) {
    return Failure(code, request.url);
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  return static_cast<int>(status);
}

}  // namespace softsplice::bench

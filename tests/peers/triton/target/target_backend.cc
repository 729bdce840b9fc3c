// libtriton_vramgate_target.so: what the gate backend's tests forward to. One thread a model, whatever the load.
//
//   echo   not decoupled: OUTPUT<k> is INPUT<k>, after `delay_ms`; any type, batched or not
//   llm    decoupled: `max_tokens` times "tok<i> " as TOKEN, one each `delay_ms`, until its client has left
//
// Request parameters: max_tokens, delay_ms, fail_after (tokens before it ends with an error), fail_code (Triton's).
// What the request carried comes back as parameters of the first response: flags, correlation, timeout_us, and got_KEY
// for each of its parameters.
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "plugin/triton/error.h"
#include "plugin/triton/request_copy.h"
#include "plugin/triton/triton_backend_api.h"

namespace vramgate {
namespace {

using Instant = std::chrono::steady_clock::time_point;

constexpr int64_t kMostBytes = int64_t{1} << 30;

void Check(TRITONSERVER_Error* error) {
  LogError("target", error);
}

int64_t Number(const RequestCopy& copy, std::string_view key, int64_t otherwise) {
  for (const Parameter& parameter : copy.parameters) {
    if (parameter.key != key) continue;
    if (const auto* number = std::get_if<int64_t>(&parameter.value)) return *number;
    if (const auto* text = std::get_if<std::string>(&parameter.value)) return std::stoll(*text);
  }
  return otherwise;
}

Error Failure(const RequestCopy& copy) {
  const auto code = static_cast<TRITONSERVER_Error_Code>(Number(copy, "fail_code", TRITONSERVER_ERROR_INTERNAL));
  return MakeError(code, "the target has failed");
}

struct Job {
  TRITONBACKEND_ResponseFactory* factory = nullptr;
  RequestCopy copy;
  int64_t sent = 0;
};

void Put(TRITONBACKEND_Response* response, const std::string& name, TRITONSERVER_DataType type,
         const std::vector<int64_t>& shape, const std::string& bytes) {
  TRITONBACKEND_Output* output = nullptr;
  Check(TRITONBACKEND_ResponseOutput(response, &output, name.c_str(), type, shape.data(),
                                     static_cast<uint32_t>(shape.size())));
  void* buffer = nullptr;
  TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
  int64_t memory_id = 0;
  Check(TRITONBACKEND_OutputBuffer(output, &buffer, bytes.size(), &memory, &memory_id));
  if (!bytes.empty()) std::memcpy(buffer, bytes.data(), bytes.size());
}

// What has come, as parameters of the answer.
void Tell(TRITONBACKEND_Response* response, const RequestCopy& copy) {
  Check(TRITONBACKEND_ResponseSetIntParameter(response, "flags", copy.flags));
  Check(TRITONBACKEND_ResponseSetIntParameter(response, "timeout_us", static_cast<int64_t>(copy.timeout_us)));
  const std::string correlation =
      copy.correlation_text.empty() ? std::to_string(copy.correlation_id) : copy.correlation_text;
  Check(TRITONBACKEND_ResponseSetStringParameter(response, "correlation", correlation.c_str()));
  for (const Parameter& parameter : copy.parameters) {
    const std::string key = "got_" + parameter.key;
    if (const auto* text = std::get_if<std::string>(&parameter.value)) {
      Check(TRITONBACKEND_ResponseSetStringParameter(response, key.c_str(), text->c_str()));
    } else if (const auto* number = std::get_if<int64_t>(&parameter.value)) {
      Check(TRITONBACKEND_ResponseSetIntParameter(response, key.c_str(), *number));
    } else if (const auto* flag = std::get_if<bool>(&parameter.value)) {
      Check(TRITONBACKEND_ResponseSetBoolParameter(response, key.c_str(), *flag));
    }
  }
}

class Target {
 public:
  explicit Target(bool decoupled) : decoupled_(decoupled), worker_([this] { Work(); }) {}

  ~Target() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    worker_.join();
  }

  void Take(TRITONBACKEND_Request* request) {
    auto job = std::make_unique<Job>();
    Check(TRITONBACKEND_ResponseFactoryNew(&job->factory, request));
    Check(CopyRequest(request, kMostBytes, &job->copy).release());
    Check(TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL));
    Later(std::move(job));
  }

 private:
  void Later(std::unique_ptr<Job> job) {
    const Instant due = std::chrono::steady_clock::now() + std::chrono::milliseconds(Number(job->copy, "delay_ms", 0));
    {
      const std::lock_guard lock(mutex_);
      jobs_.emplace(due, std::move(job));
    }
    changed_.notify_all();
  }

  void Work() {
    std::unique_lock lock(mutex_);
    while (!stopping_ || !jobs_.empty()) {
      if (jobs_.empty()) {
        changed_.wait(lock);
        continue;
      }
      const Instant due = jobs_.begin()->first;
      if (std::chrono::steady_clock::now() < due) {
        changed_.wait_until(lock, due);
        continue;
      }
      std::unique_ptr<Job> job = std::move(jobs_.begin()->second);
      jobs_.erase(jobs_.begin());
      lock.unlock();
      if (decoupled_ ? Stream(*job) : Echo(*job)) {
        Check(TRITONBACKEND_ResponseFactoryDelete(job->factory));
      } else {
        Later(std::move(job));
      }
      lock.lock();
    }
  }

  static TRITONBACKEND_Response* New(const Job& job) {
    TRITONBACKEND_Response* response = nullptr;
    Check(TRITONBACKEND_ResponseNewFromFactory(&response, job.factory));
    return response;
  }

  static bool Echo(const Job& job) {
    TRITONBACKEND_Response* const response = New(job);
    Tell(response, job.copy);
    for (const Tensor& input : job.copy.inputs) {
      Put(response, "OUTPUT" + input.name.substr(std::strlen("INPUT")), input.type, input.shape, input.bytes);
    }
    const Error error = Number(job.copy, "fail_after", 1) == 0 ? Failure(job.copy) : Error();
    Check(TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error.get()));
    return true;
  }

  // One token; whether it was the last thing to send.
  static bool Stream(Job& job) {
    bool left = false;
    Check(TRITONBACKEND_ResponseFactoryIsCancelled(job.factory, &left));
    Error end;
    if (left) {
      Log(TRITONSERVER_LOG_INFO, "target: stopped " + job.copy.id);
      end = MakeError(TRITONSERVER_ERROR_CANCELLED, "the target was told to stop");
    } else if (job.sent == Number(job.copy, "fail_after", -1)) {
      end = Failure(job.copy);
    }
    if (end != nullptr) {
      Check(TRITONBACKEND_ResponseSend(New(job), TRITONSERVER_RESPONSE_COMPLETE_FINAL, end.get()));
      return true;
    }
    const std::string text = "tok" + std::to_string(job.sent) + " ";
    const auto size = static_cast<uint32_t>(text.size());
    std::string bytes(sizeof size, '\0');
    std::memcpy(bytes.data(), &size, sizeof size);
    TRITONBACKEND_Response* const response = New(job);
    if (job.sent == 0) Tell(response, job.copy);
    Put(response, "TOKEN", TRITONSERVER_TYPE_BYTES, {1}, bytes + text);
    Check(TRITONBACKEND_ResponseSend(response, 0, nullptr));
    if (++job.sent < Number(job.copy, "max_tokens", 5)) return false;
    Check(TRITONBACKEND_ResponseFactorySendFlags(job.factory, TRITONSERVER_RESPONSE_COMPLETE_FINAL));
    return true;
  }

  const bool decoupled_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Instant, std::unique_ptr<Job>> jobs_;
  bool stopping_ = false;
  std::thread worker_;
};

}  // namespace
}  // namespace vramgate

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  TRITONSERVER_Message* message = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelConfig(model, 1, &message)) return error;
  const char* base = nullptr;
  size_t bytes = 0;
  if (TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &base, &bytes)) return error;
  const bool decoupled = std::string_view(base, bytes).find("\"decoupled\":true") != std::string_view::npos;
  vramgate::LogError("delete a message", TRITONSERVER_MessageDelete(message));
  return TRITONBACKEND_ModelSetState(model, new vramgate::Target(decoupled));
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelState(model, &state)) return error;
  delete static_cast<vramgate::Target*>(state);
  return nullptr;
}

VRAMGATE_TRITON_EXPORT TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                                              TRITONBACKEND_Request** requests,
                                                                              const uint32_t count) {
  TRITONBACKEND_Model* model = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelInstanceModel(instance, &model)) return error;
  void* state = nullptr;
  if (TRITONSERVER_Error* error = TRITONBACKEND_ModelState(model, &state)) return error;
  for (uint32_t index = 0; index < count; ++index) static_cast<vramgate::Target*>(state)->Take(requests[index]);
  return nullptr;
}

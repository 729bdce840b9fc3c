#include "tests/bench/rpc_load.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "admission/check.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"

namespace vramgate {
namespace {

double NowUs() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void CheckOk(const grpc::Status& status) {
  if (!status.ok()) internal::CheckFailed(__FILE__, __LINE__, "status.ok()", status.error_message().c_str());
}

template <typename Call>
double Timed(Call call) {
  const double start = NowUs();
  call();
  return NowUs() - start;
}

// Runs `call` `calls` times from each of `threads` threads; returns calls a second.
template <typename Call>
double Throughput(int threads, int calls, Call call) {
  std::vector<std::thread> callers;
  const double start = NowUs();
  for (int t = 0; t < threads; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < calls; ++i) call(t);
    });
  }
  for (std::thread& caller : callers) caller.join();
  return threads * calls / (NowUs() - start) * 1e6;
}

}  // namespace

struct RpcLoad::Waiter {
  grpc::ClientContext context;
  v1::AdmitRequest request;
  v1::AdmitResponse response;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

RpcLoad::RpcLoad(const std::string& target)
    : admission_(v1::AdmissionService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()))),
      null_(bench::NullService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()))) {}

RpcLoad::~RpcLoad() {
  for (const auto& waiter : waiters_) waiter->context.TryCancel();
  for (const auto& waiter : waiters_) {
    std::unique_lock lock(waiter->mutex);
    waiter->changed.wait(lock, [&] { return waiter->done; });
  }
}

v1::AdmitRequest RpcLoad::Request(const std::string& model) {
  static std::atomic<int64_t> serial = 0;
  v1::AdmitRequest request;
  request.set_request_id(absl::StrCat("8c1f6f0a-7d0e-4b0e-9a51-", serial++));
  request.set_model(model);
  request.set_tenant("team-a");
  request.mutable_demand()->set_prompt_tokens(1000);
  request.mutable_demand()->set_max_output_tokens(500);
  return request;
}

void RpcLoad::Null() {
  grpc::ClientContext context;
  v1::AdmitResponse response;
  CheckOk(null_->Null(&context, Request("m"), &response));
}

std::string RpcLoad::Admit() {
  grpc::ClientContext context;
  v1::AdmitResponse response;
  CheckOk(admission_->Admit(&context, Request("m"), &response));
  return response.lease().name();
}

void RpcLoad::Release(const std::string& lease) {
  grpc::ClientContext context;
  v1::ReleaseLeaseRequest request;
  v1::ReleaseLeaseResponse response;
  request.set_name(lease);
  CheckOk(admission_->ReleaseLease(&context, request, &response));
  CHECK(!response.already_released(), "a lease was gone before its release");
}

void RpcLoad::Session() {
  grpc::ClientContext context;
  const auto stream = admission_->Session(&context);
  v1::SessionRequest request;
  *request.mutable_admit() = Request("m");
  CHECK(stream->Write(request), "Session: write");
  v1::SessionResponse response;
  while (stream->Read(&response) && !response.has_granted()) {
  }
  CHECK(response.has_granted(), "Session: no grant");
  stream->WritesDone();
  CheckOk(stream->Finish());
}

RpcLoad::Latencies RpcLoad::Measure(int calls) {
  Latencies out;
  for (int i = 0; i < calls; ++i) {
    std::string lease;
    out.null_us.push_back(Timed([&] { Null(); }));
    out.admit_us.push_back(Timed([&] { lease = Admit(); }));
    Release(lease);
    out.two_nulls_us.push_back(Timed([&] {
      Null();
      Null();
    }));
    out.admit_release_us.push_back(Timed([&] {
      lease = Admit();
      Release(lease);
    }));
    out.session_us.push_back(Timed([&] { Session(); }));
  }
  return out;
}

double RpcLoad::NullThroughput(int threads, int calls) {
  return Throughput(threads, calls, [&](int) { Null(); });
}

double RpcLoad::AdmitThroughput(int threads, int calls) {
  std::vector<std::vector<std::string>> leases(static_cast<size_t>(threads));
  const double rate = Throughput(threads, calls, [&](int t) { leases[static_cast<size_t>(t)].push_back(Admit()); });
  for (const auto& of_thread : leases) {
    for (const std::string& lease : of_thread) Release(lease);
  }
  return rate;
}

void RpcLoad::HoldAndWait(int held, int waiting) {
  for (int i = 0; i < held; ++i) Admit();
  // One lease takes the other device's pool, all but nothing; the rest wait for it.
  grpc::ClientContext context;
  v1::AdmitRequest all = Request("other");
  all.mutable_demand()->set_max_output_tokens(7000);
  v1::AdmitResponse response;
  CheckOk(admission_->Admit(&context, all, &response));
  for (int i = 0; i < waiting; ++i) {
    waiters_.push_back(std::make_unique<Waiter>());
    Waiter* waiter = waiters_.back().get();
    waiter->request = Request("other");
    admission_->async()->Admit(&waiter->context, &waiter->request, &waiter->response, [waiter](const grpc::Status&) {
      const std::lock_guard lock(waiter->mutex);
      waiter->done = true;
      waiter->changed.notify_all();
    });
  }
}

}  // namespace vramgate

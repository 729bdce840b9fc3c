// A fake of the Triton server, as far as a GateModel uses it: requests, whose answers are counted, and a target that
// runs them on threads of its own and gives requests back before, between or after its responses, as it likes.
//
//   FakeServer server(seed);
//   TRITONBACKEND_Request* request = server.NewRequest(&client);      a client that may leave, and to whom answers go
//   model->Execute(&request, 1);
//   ... client.finals == 1
//
// Used by tests of plugin/triton. fake_server.cc has the C functions. Thread rule: from any thread. Lifetime rule: the
// server outlives its requests and clients.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "plugin/triton/triton_backend_api.h"

// Who waits for an answer. Triton's own types are this one here, or have nothing in them.
struct FakeClient {
  std::atomic<bool> left{false};
  std::atomic<int> responses{0};
  std::atomic<int> errors{0};
  std::atomic<int> finals{0};
  std::atomic<int> after_final{0};  // what must not be
  std::atomic<int> factories{0};
};

struct TRITONBACKEND_Request {
  FakeClient* client;
  uint64_t correlation_id;
};

struct TRITONSERVER_InferenceRequest {
  std::atomic<bool> cancelled{false};
  std::atomic<bool> released{true};  // the target has none of it
  TRITONSERVER_InferenceRequestReleaseFn_t on_release = nullptr;
  void* release_user = nullptr;
  TRITONSERVER_InferenceResponseCompleteFn_t on_response = nullptr;
  void* response_user = nullptr;
};

struct TRITONSERVER_Server {
  explicit TRITONSERVER_Server(unsigned seed);
  ~TRITONSERVER_Server();  // once the target has nothing left

  TRITONBACKEND_Request* NewRequest(FakeClient* client, uint64_t correlation_id = 0);
  void Infer(TRITONSERVER_InferenceRequest* request);

  std::atomic<bool> target_ready{true};
  std::atomic<bool> refuses{false};     // of requests to the target
  std::atomic<int> requests{0};         // that were not given back
  std::atomic<int> inner_requests{0};   // that were not deleted
  std::atomic<int> inner_responses{0};  // the same
  std::atomic<int> wrong{0};            // deleted while the target had it, and the like

 private:
  void Work(unsigned seed);
  void Run(TRITONSERVER_InferenceRequest* request, std::mt19937& random);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<TRITONSERVER_InferenceRequest*> queue_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

using FakeServer = TRITONSERVER_Server;

// The one that there is: requests are deleted at it, without being told which.
std::atomic<FakeServer*>& FakeServerOfTest();

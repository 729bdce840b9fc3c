// The client side of bench_rpc: one channel to the server under test, calls timed one by one or as many as go through.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "null.grpc.pb.h"
#include "vramgate/v1/admission.grpc.pb.h"

namespace vramgate {

class RpcLoad {
 public:
  explicit RpcLoad(const std::string& target);
  ~RpcLoad();

  // Microseconds of each of `calls` calls, one after the other.
  struct Latencies {
    std::vector<double> null_us;
    std::vector<double> admit_us;
    std::vector<double> two_nulls_us;
    std::vector<double> admit_release_us;
    std::vector<double> session_us;
  };
  // The kinds take turns call by call, so that a noisy moment hits all alike.
  Latencies Measure(int calls);
  // Calls a second of `threads` callers in closed loops; what was admitted is released after the clock has stopped.
  double NullThroughput(int threads, int calls);
  double AdmitThroughput(int threads, int calls);

  // 10,000 leases held beside those measured, and 1,000 waiters for another device. They stay until the end.
  void HoldAndWait(int held, int waiting);

 private:
  struct Waiter;
  v1::AdmitRequest Request(const std::string& model);
  void Null();
  std::string Admit();
  void Release(const std::string& lease);
  void Session();

  const std::unique_ptr<v1::AdmissionService::Stub> admission_;
  const std::unique_ptr<bench::NullService::Stub> null_;
  std::vector<std::unique_ptr<Waiter>> waiters_;
};

}  // namespace vramgate

// An engine's metrics endpoint that a test writes itself: raw bytes for each request, over a real socket on a free
// port.
//
//   FakeEngine engine(FakeEngine::Ok("vllm:kv_cache_usage_perc 0\n"));
//   ... engine.url("/metrics") ...
//   engine.WaitForRequests(2);              // whoever asks one after the other has read the first answer
//   engine.Answer(FakeEngine::Ok("..."));   // from the next request on
//
// Thread rule: any thread. One thread of its own serves, one connection at a time.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace vramgate {

class FakeEngine {
 public:
  // Bytes to send; then the connection is closed.
  explicit FakeEngine(std::string answer);
  ~FakeEngine();
  FakeEngine(const FakeEngine&) = delete;

  static std::string Ok(std::string_view page);  // a whole answer of status 200
  // An answer that is not sent: the connection stays open and silent until the engine is destroyed or asked again.
  static const std::string kSilence;
  // An answer that never ends: `head`, and then bytes as long as they are taken.
  static std::string Endless(std::string_view head);

  void Answer(std::string answer);
  std::string url(std::string_view target) const;
  int port() const { return port_; }
  // Until so many have been asked since the start.
  void WaitForRequests(int count);
  int requests() const;
  std::string last_request() const;

 private:
  void Serve();
  void Handle(int connection);

  int listener_ = -1;
  int wake_[2] = {-1, -1};
  int port_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::string answer_;
  std::string last_request_;
  int requests_ = 0;
  std::thread thread_;
};

}  // namespace vramgate

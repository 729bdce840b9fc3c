// A plugin socket without a gate behind it, for tests that link no gRPC: answers as a sidecar may, in every order that
// it may, and now and then drops a connection. It counts what is open: an admit that was granted and has not ended.
//
//   FakeSidecar sidecar(path, {.seed = 7, .drop_every = 500});
//   ...
//   sidecar.Stop();
//
// Thread rule: a thread of its own; Stop and the counters from one other.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "admission/frame_reader.h"

namespace vramgate {

class FakeSidecar {
 public:
  struct Options {
    uint32_t seed = 1;
    int drop_every = 0;  // frames, on average; 0: never
  };
  FakeSidecar(const std::string& path, const Options& options);
  ~FakeSidecar() { Stop(); }
  FakeSidecar(const FakeSidecar&) = delete;
  FakeSidecar& operator=(const FakeSidecar&) = delete;

  void Stop();
  int64_t frames() const { return frames_.load(); }
  int64_t open() const { return open_.load(); }
  int64_t drops() const { return drops_.load(); }

 private:
  struct Peer {
    FrameReader frames{size_t{1} << 20};
    std::set<uint64_t> held;
    std::set<uint64_t> waiting;
  };
  void Run();
  bool Serve(int fd, Peer& peer);
  bool Answer(Peer& peer, std::string_view frame, std::string* out);
  void Drop(int fd);

  const Options options_;
  const int listener_;
  const int wake_;
  std::mt19937 random_;
  std::map<int, Peer> peers_;
  std::atomic<int64_t> frames_ = 0;
  std::atomic<int64_t> open_ = 0;
  std::atomic<int64_t> drops_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace vramgate

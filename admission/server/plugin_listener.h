// The plugin socket: where the plugins of engines connect (docs/plugins.md). One thread accepts, reads, decides and
// writes for all of them.
//
//   absl::StatusOr<std::unique_ptr<PluginListener>> plugins = PluginListener::Start("unix:/run/plugin.sock", options);
//   ...
//   (*plugins)->Stop();       // ends every connection; waiters should have been refused before
//
// Used by Server. Thread rule: one thread starts and stops; connections() from any. Lifetime rule: what the options
// refer to outlives it.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "admission/server/stream_limit.h"

namespace vramgate {

class PluginListener {
 public:
  static constexpr size_t kMostConnections = 1024;
  using Say = std::function<void(bool warning, std::string_view line)>;

  struct Options {
    Controller& controller;
    const Converter& converter;
    StreamLimit& streams;
    Caller caller;
    size_t most_frame_bytes = 0;
    Say say;  // who comes and goes; from the listener's thread
  };

  // Errors name the address and the way out. REQUIRES: `address` is a Unix socket's.
  static absl::StatusOr<std::unique_ptr<PluginListener>> Start(const std::string& address, const Options& options);
  ~PluginListener();  // stops
  PluginListener(const PluginListener&) = delete;
  PluginListener& operator=(const PluginListener&) = delete;

  void Stop();

  const std::string& address() const { return address_; }
  int64_t connections() const;

 private:
  class Server;
  PluginListener(std::unique_ptr<Server> server, std::string address);

  std::unique_ptr<Server> server_;
  const std::string address_;
};

}  // namespace vramgate

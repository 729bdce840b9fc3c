// A plugin's end of the plugin socket, as plain as it can be: whole messages or bytes out, messages in.
//
//   PluginPeer peer(sidecar);
//   peer.Admit(1, Ask(100));
//   EXPECT_EQ(peer.Read().session().granted().instance(), "a");
//   peer.End(1);
//   EXPECT_EQ(peer.Read().status().code(), 0);
//
// Thread rule: one thread. Every read ends after kPatience, as a failure.
#pragma once

#include <string>
#include <string_view>

#include "tests/e2e/sidecar.h"
#include "vramgate/v1/plugin.pb.h"

namespace vramgate {

class PluginPeer {
 public:
  explicit PluginPeer(const Sidecar& sidecar);
  ~PluginPeer() { Die(); }
  PluginPeer(const PluginPeer&) = delete;
  PluginPeer& operator=(const PluginPeer&) = delete;

  void Send(const v1::PluginRequest& request);
  void SendBytes(std::string_view bytes);
  void Admit(uint64_t stream, const v1::AdmitRequest& admit);
  void End(uint64_t stream, v1::EndReport::Reason reason = v1::EndReport::COMPLETED);
  void Cancel(uint64_t stream);
  // One report of steps of model `m`'s instance `a`.
  void Step(uint64_t stream, int64_t steps, const std::string& ended = "");

  // The next message; an empty one at the end of the connection.
  v1::PluginResponse Read();
  // Reads up to the grant on `stream`, and returns it.
  v1::Lease AwaitGrant(uint64_t stream);
  // The end of the connection has come, after whatever else.
  bool Over();
  // As the process's death does it.
  void Die();

 private:
  bool ReadBytes(size_t bytes, std::string* into);
  int fd_ = -1;
};

// As grpc::Status, so that DetailsOf reads it.
grpc::Status ToGrpc(const google::rpc::Status& status);

}  // namespace vramgate

#include "tests/e2e/plugin_peer.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "admission/frame_reader.h"

namespace vramgate {

PluginPeer::PluginPeer(const Sidecar& sidecar) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (sidecar.directory() / "plugin.sock").string().copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
}

void PluginPeer::SendBytes(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return;  // the end is seen by Read
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void PluginPeer::Send(const v1::PluginRequest& request) {
  std::string frame;
  AppendFrameHead(request.ByteSizeLong(), &frame);
  SendBytes(frame + request.SerializeAsString());
}

void PluginPeer::Admit(uint64_t stream, const v1::AdmitRequest& admit) {
  v1::PluginRequest request;
  request.set_stream(stream);
  *request.mutable_session()->mutable_admit() = admit;
  Send(request);
}

void PluginPeer::End(uint64_t stream, v1::EndReport::Reason reason) {
  v1::PluginRequest request;
  request.set_stream(stream);
  request.mutable_session()->mutable_end()->set_reason(reason);
  Send(request);
}

void PluginPeer::Cancel(uint64_t stream) {
  v1::PluginRequest request;
  request.set_stream(stream);
  request.mutable_cancel();
  Send(request);
}

void PluginPeer::Step(uint64_t stream, int64_t steps, const std::string& ended) {
  v1::PluginRequest request;
  request.set_stream(stream);
  request.mutable_steps()->set_model("m");
  request.mutable_steps()->set_instance("a");
  request.mutable_steps()->set_steps(steps);
  if (!ended.empty()) request.mutable_steps()->add_ended()->set_lease(ended);
  Send(request);
}

bool PluginPeer::ReadBytes(size_t bytes, std::string* into) {
  into->clear();
  char piece[4096];
  while (into->size() < bytes) {
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) <= 0) {
      ADD_FAILURE() << "nothing came";
      return false;
    }
    const ssize_t got = recv(fd_, piece, std::min(sizeof piece, bytes - into->size()), 0);
    if (got <= 0) return false;
    into->append(piece, static_cast<size_t>(got));
  }
  return true;
}

v1::PluginResponse PluginPeer::Read() {
  std::string bytes;
  v1::PluginResponse response;
  if (!ReadBytes(FrameReader::kHeadBytes, &bytes)) return response;
  uint32_t size = 0;
  for (int i = 3; i >= 0; --i) size = size << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  if (!ReadBytes(size, &bytes)) return response;
  EXPECT_TRUE(response.ParseFromString(bytes));
  return response;
}

v1::Lease PluginPeer::AwaitGrant(uint64_t stream) {
  while (true) {
    const v1::PluginResponse response = Read();
    if (response.stream() == stream && response.session().has_granted()) return response.session().granted();
    if (response.session().has_queued()) continue;
    ADD_FAILURE() << "no grant but " << response.ShortDebugString();
    return {};
  }
}

bool PluginPeer::Over() {
  v1::PluginResponse response;
  do {
    response = Read();
  } while (response.msg_case() != v1::PluginResponse::MSG_NOT_SET);
  return true;
}

void PluginPeer::Die() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

grpc::Status ToGrpc(const google::rpc::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString()};
}

}  // namespace vramgate

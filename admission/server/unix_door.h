// A UnixDoor accepts connections at a Unix socket for a gRPC server, and can say of each whether it is still there.
// gRPC itself only says that a stream has ended: its own end, a client that left, or a gateway that is gone with all of
// its requests look alike.
//
//   absl::StatusOr<std::unique_ptr<UnixDoor>> door = UnixDoor::Listen("/run/vramgate/gate.sock", 0660);
//   std::unique_ptr<grpc::Server> server = builder.BuildAndStart();   // without a listening port
//   (*door)->Serve(*server);
//   std::shared_ptr<const PeerSocket> peer = (*door)->PeerOf(context.peer());
//   ...
//   if (peer != nullptr && peer->Gone()) ...   // the stream ended with its connection
//   (*door)->Stop();                           // before the server's Shutdown
//
// Used by Server. Thread rule: PeerOf from any thread, the rest from one. Lifetime rule: the gRPC server outlives
// Serve to Stop.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "admission/mutex.h"
#include "grpcpp/server.h"

namespace vramgate {

// One connection, as the kernel sees it. Thread-safe.
class PeerSocket {
 public:
  // Of a duplicate of `fd`, which stays the caller's.
  explicit PeerSocket(int fd);
  ~PeerSocket();
  PeerSocket(const PeerSocket&) = delete;
  PeerSocket& operator=(const PeerSocket&) = delete;

  // Whether either side has closed it.
  bool Gone() const;

 private:
  const int fd_;
};

class UnixDoor {
 public:
  // Errors say what stands in the way. `mode` is the socket's from its first moment.
  static absl::StatusOr<std::unique_ptr<UnixDoor>> Listen(const std::string& path, int mode);
  ~UnixDoor();  // stops
  UnixDoor(const UnixDoor&) = delete;
  UnixDoor& operator=(const UnixDoor&) = delete;

  void Serve(grpc::Server& server);
  // Accepts nobody from now on, and removes the socket. Connections stay.
  void Stop();

  // The connection that gRPC calls `peer`; null where it is not of this door.
  std::shared_ptr<const PeerSocket> PeerOf(std::string_view peer) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  UnixDoor(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  void Run(grpc::Server& server);
  void Remember(int fd) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string path_;
  const int fd_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  mutable Mutex mutex_;
  // By the descriptor that gRPC has, which is also its name there. Those that are gone stay until the next one comes.
  absl::flat_hash_map<int, std::shared_ptr<const PeerSocket>> peers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vramgate

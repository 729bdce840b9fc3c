// An Entrance accepts connections at an address for a gRPC server, and can say of each whether it is still there. gRPC
// itself only says that a stream has ended: its own end, a client that left, or a gateway that is gone with all of its
// requests look alike.
//
//   absl::StatusOr<std::unique_ptr<Entrance>> entrance = Entrance::Listen("unix:/run/vramgate/gate.sock", 0660);
//   std::unique_ptr<grpc::Server> server = builder.BuildAndStart();   // without a listening port
//   (*entrance)->Serve(*server);
//   std::shared_ptr<const PeerSocket> peer = (*entrance)->PeerOf(context.peer());
//   ...
//   if (peer != nullptr && peer->Gone()) ...   // the stream ended with its connection
//   (*entrance)->Stop();                       // before the server's Shutdown
//
// Used by GrpcDoor. Thread rule: PeerOf from any thread, the rest from one. Lifetime rule: the gRPC server outlives
// Serve to Stop.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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

class Entrance {
 public:
  // Errors say what stands in the way. `mode` is a Unix socket's, from its first moment. A name that stands for several
  // addresses is listened to at all of them.
  static absl::StatusOr<std::unique_ptr<Entrance>> Listen(const std::string& address, int mode);
  ~Entrance();  // stops
  Entrance(const Entrance&) = delete;
  Entrance& operator=(const Entrance&) = delete;

  // As it was given, with the port that was found where any would do.
  const std::string& address() const { return address_; }

  void Serve(grpc::Server& server);
  // Accepts nobody from now on, and removes a Unix socket. Connections stay.
  void Stop();

  // The connection that gRPC calls `peer`; null where it is not of this entrance.
  std::shared_ptr<const PeerSocket> PeerOf(std::string_view peer) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  Entrance() = default;

  absl::Status ListenUnix(const std::string& path, int mode);
  absl::Status ListenTcp(const std::string& host, int port);
  void Run(grpc::Server& server);
  void Accept(int listener, grpc::Server& server);
  void Remember(int fd) ABSL_LOCKS_EXCLUDED(mutex_);

  std::string address_;
  std::string unix_path_;       // "": TCP
  std::vector<int> listeners_;  // descriptors
  int wake_ = -1;               // an eventfd: the thread is to end
  std::atomic<bool> stop_ = false;
  std::thread thread_;
  mutable Mutex mutex_;
  // By the descriptor that gRPC has, which is also its name there. Those that are gone stay until the next one comes.
  absl::flat_hash_map<int, std::shared_ptr<const PeerSocket>> peers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vramgate

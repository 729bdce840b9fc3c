// The connection to the sidecar: one Unix socket at a time, frames in and out, and how the client's thread sleeps.
//
//   Link link("/run/vramgate/plugin.sock");
//   if (link.Connect()) { AppendPing(1, &link.out()); link.Flush(); }
//   link.Sleep(timeout_ns);                           // the client's thread: until bytes come, or Wake
//   while (link.Receive() == Link::Received::kSome) ... link.frames().Next(&frame) ...
//
// Used by Client. Thread rule: under the Client's lock, but for Wake (any thread), Sleep (the client's thread) and
// AwaitBytes (one thread, for which Watch(false) was called; the client's thread then leaves the socket alone).
#pragma once

#include <cstdint>
#include <string>

#include "admission/frame_reader.h"

namespace vramgate::plugin {

class Link {
 public:
  // False of ok(): no descriptors left, or a path that no socket can have.
  explicit Link(std::string path);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  bool ok() const;
  bool up() const { return socket_ >= 0; }
  // Never blocks. False: nobody listens there now.
  bool Connect();
  void Close();
  // No more is sent; the peer's end is awaited by Receive.
  void HalfClose();

  // What Flush is to send: whole frames are appended.
  std::string& out() { return out_; }
  // Sends what the socket takes; the rest goes when it can. False: broken.
  bool Flush();
  enum class Received : uint8_t { kSome, kNothing, kBroken };
  Received Receive();
  FrameReader& frames() { return frames_; }

  // Whether Sleep ends when bytes come.
  void Watch(bool bytes);
  void Sleep(int64_t timeout_ns);  // below 0: for ever
  void Wake();
  // Waits for bytes, or the peer's end.
  void AwaitBytes(int64_t timeout_ns) const;

 private:
  static constexpr size_t kMostFrameBytes = size_t{64} << 20;
  void SetEvents(bool bytes, bool room);

  const std::string path_;
  int socket_ = -1;
  int epoll_ = -1;
  int wake_ = -1;
  std::string out_;
  size_t sent_bytes_ = 0;  // of out_
  bool for_bytes_ = true;  // what Sleep is ended by
  bool for_room_ = false;
  FrameReader frames_{kMostFrameBytes};
};

}  // namespace vramgate::plugin

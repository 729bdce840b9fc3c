#include "tests/plugin/c/fake_sidecar.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <vector>

#include "admission/check.h"

namespace vramgate {
namespace {

int Listen(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && listen(fd, 64) == 0, "listen");
  return fd;
}

template <typename Fill>
void AppendAnswer(uint64_t stream, std::string* out, Fill fill) {
  std::string message;
  {
    protozero::pbf_writer answer(message);
    answer.add_uint64(1, stream);
    fill(answer);
  }
  AppendFrameHead(message.size(), out);
  *out += message;
}

void AppendStatus(uint64_t stream, int code, std::string* out) {
  AppendAnswer(stream, out, [&](protozero::pbf_writer& answer) {
    protozero::pbf_writer status(answer, 3);
    if (code != 0) status.add_int32(1, code);
  });
}

// `number` of SessionResponse: 1 queued, 2 granted, 3 extended, 4 revoke.
void AppendSession(uint64_t stream, uint32_t number, std::string* out) {
  AppendAnswer(stream, out, [&](protozero::pbf_writer& answer) {
    protozero::pbf_writer session(answer, 2);
    protozero::pbf_writer message(session, number);
    if (number == 2) message.add_string(1, "leases/" + std::to_string(stream));
  });
}

}  // namespace

FakeSidecar::FakeSidecar(const std::string& path, const Options& options)
    : options_(options), listener_(Listen(path)), wake_(eventfd(0, EFD_CLOEXEC)), random_(options.seed) {
  thread_ = std::thread([this] { Run(); });
}

void FakeSidecar::Stop() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  const uint64_t one = 1;
  CHECK(write(wake_, &one, sizeof one) == sizeof one, "wake");
  thread_.join();
  while (!peers_.empty()) Drop(peers_.begin()->first);
  close(listener_);
  close(wake_);
}

void FakeSidecar::Run() {
  while (!stopping_) {
    std::vector<pollfd> wait{{listener_, POLLIN, 0}, {wake_, POLLIN, 0}};
    for (const auto& [fd, peer] : peers_) wait.push_back({fd, POLLIN, 0});
    poll(wait.data(), wait.size(), -1);
    if (wait[0].revents != 0) peers_.try_emplace(accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC));
    for (size_t i = 2; i < wait.size(); ++i) {
      if (wait[i].revents != 0 && !Serve(wait[i].fd, peers_.at(wait[i].fd))) Drop(wait[i].fd);
    }
  }
}

void FakeSidecar::Drop(int fd) {
  open_ -= static_cast<int64_t>(peers_.at(fd).held.size());
  peers_.erase(fd);
  close(fd);
}

bool FakeSidecar::Serve(int fd, Peer& peer) {
  const std::span<char> room = peer.frames.Room();
  const ssize_t got = recv(fd, room.data(), room.size(), 0);
  if (got <= 0) return false;
  peer.frames.Filled(static_cast<size_t>(got));
  std::string out;
  std::string_view frame;
  while (peer.frames.Next(&frame) == FrameReader::Result::kFrame) {
    ++frames_;
    if (!Answer(peer, frame, &out)) return false;
    if (options_.drop_every > 0 && random_() % static_cast<uint32_t>(options_.drop_every) == 0) {
      ++drops_;
      return false;
    }
  }
  return out.empty() || send(fd, out.data(), out.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(out.size());
}

bool FakeSidecar::Answer(Peer& peer, std::string_view frame, std::string* out) {
  protozero::pbf_reader request(frame.data(), frame.size());
  uint64_t stream = 0;
  uint32_t message = 0;
  uint32_t session = 0;
  while (request.next()) {
    if (request.tag() == 1) {
      stream = request.get_uint64();
      continue;
    }
    message = request.tag();
    protozero::pbf_reader inner(request.get_view());
    if (inner.next()) session = inner.tag();
  }
  if (message == 4) return AppendAnswer(stream, out, [](protozero::pbf_writer& a) { a.add_message(4, "", 0); }), true;
  if (message != 2) return AppendStatus(stream, 3, out), true;
  const bool known = peer.held.contains(stream) || peer.waiting.contains(stream);
  CHECK(!known || session != 1, "a stream was opened twice");
  if (!known && session != 1) return true;  // the ends have crossed
  switch (session) {
    case 1:  // admit
      AppendSession(stream, 1, out);
      if (random_() % 4 == 0) {
        peer.waiting.insert(stream);  // for ever: it is ended by its caller
      } else if (random_() % 4 == 0) {
        AppendStatus(stream, 8, out);
      } else {
        peer.held.insert(stream);
        ++open_;
        AppendSession(stream, 2, out);
        if (random_() % 8 == 0) AppendSession(stream, 4, out);
      }
      return true;
    case 3:
      if (peer.held.contains(stream)) AppendSession(stream, 3, out);
      return true;
    case 4:  // revoke_ack
    case 5:  // end
      open_ -= static_cast<int64_t>(peer.held.erase(stream));
      peer.waiting.erase(stream);
      AppendStatus(stream, session == 4 ? 10 : 0, out);
      return true;
    default:
      return true;
  }
}

}  // namespace vramgate

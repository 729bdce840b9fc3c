#include "admission/server/unix_door.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/admission/server/gateway.h"

namespace vramgate {
namespace {

struct Pair {
  Pair() { CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair"); }
  int ends[2];
};

TEST(PeerSocketTest, AClosedPeerIsGone) {
  const Pair pair;
  const PeerSocket peer(pair.ends[0]);
  EXPECT_FALSE(peer.Gone());
  close(pair.ends[1]);
  EXPECT_TRUE(peer.Gone());
  EXPECT_TRUE(peer.Gone()) << "and stays so";
  close(pair.ends[0]);
}

TEST(PeerSocketTest, UnreadBytesHideNothing) {
  const Pair pair;
  const PeerSocket peer(pair.ends[0]);
  ASSERT_EQ(send(pair.ends[1], "x", 1, 0), 1);
  EXPECT_FALSE(peer.Gone());
  close(pair.ends[1]);
  EXPECT_TRUE(peer.Gone());
  close(pair.ends[0]);
}

// As gRPC ends a connection whose peer does not answer its pings.
TEST(PeerSocketTest, AConnectionShutDownHereIsGone) {
  const Pair pair;
  const PeerSocket peer(pair.ends[0]);
  shutdown(pair.ends[0], SHUT_RDWR);
  close(pair.ends[0]);
  EXPECT_TRUE(peer.Gone());
  char byte = 0;
  EXPECT_EQ(recv(pair.ends[1], &byte, 1, 0), 0) << "the other side sees it, too";
  close(pair.ends[1]);
}

TEST(UnixDoorTest, TheSocketHasItsModeAndGoesWithTheDoor) {
  const TemporaryDirectory directory;
  const std::string path = directory.At("door.sock");
  {
    const auto door = UnixDoor::Listen(path, 0600);
    ASSERT_TRUE(door.ok()) << door.status();
    struct stat info{};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_EQ(UnixDoor::Listen(path, 0600).status().code(), absl::StatusCode::kAlreadyExists);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(UnixDoor::Listen(std::string(200, 'x'), 0600).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(UnixDoorTest, StrangersAreNotKnown) {
  const TemporaryDirectory directory;
  const auto door = UnixDoor::Listen(directory.At("door.sock"), 0600);
  ASSERT_TRUE(door.ok());
  for (const char* peer : {"", "fd:", "fd:12", "fd:-1", "fd:x", "unix:", "ipv4:127.0.0.1:1"}) {
    EXPECT_EQ((*door)->PeerOf(peer), nullptr) << peer;
  }
}

// A gateway's process that dies takes its connection along; a channel that goes while its stream runs does so, too.
TEST(UnixDoorTest, ALeaseWhoseConnectionIsLostLingers) {
  Gateway gateway;
  Stream holder(gateway);
  ASSERT_TRUE(holder.Chat(kLarge).has_request_body());
  ASSERT_TRUE(holder.Ask(ResponseHeaders()).has_response_headers());
  gateway.BreakConnections();
  gateway.witness.Await(LedgerEvent::kLinger);
  (void)holder.End();
  while (gateway.ends.count(ExtProcEnd::kLost) == 0) std::this_thread::yield();
  EXPECT_EQ(gateway.controller().GetSnapshot().lingering, 1);
}

}  // namespace
}  // namespace vramgate

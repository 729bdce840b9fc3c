// A child process of a test: started, spoken to, and gone with the test whatever happens.
//
//   Child admit({VRAMGATE_PROGRAM, "admit", "--target", address, "--model", "m"});
//   EXPECT_NE(admit.ReadLine().find("lease"), std::string::npos);
//   admit.Signal(SIGKILL);
//   EXPECT_EQ(admit.Wait(), 128 + SIGKILL);
//
// Its stdout and stderr are pipes: stdout is read by the line, stderr kept whole. Thread rule: one thread. Every wait
// ends after kPatience, as a failure.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace vramgate {

class Child {
 public:
  static constexpr absl::Duration kPatience = absl::Seconds(60);

  explicit Child(const std::vector<std::string>& command);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line of its stdout without the end of line; "" at the end.
  std::string ReadLine();
  // Everything from here to the end of its stdout.
  std::string ReadAll();
  // What it has said on stderr. Call it after Wait.
  std::string ReadErrors();
  void Signal(int signal) const;
  // SIGSTOP; returns once it stands still. Signal(SIGCONT) lets it go on.
  void Stop();
  bool Running();
  pid_t pid() const { return pid_; }
  // Its exit status once it has ended; 128 + N where signal N ended it.
  int Wait();

 private:
  bool Reap(bool block);
  bool Fill(int fd, std::string& into, absl::Time until);

  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
  std::string buffered_;
  bool ended_ = false;
  int status_ = 0;
};

// Runs a command to its end.
struct Ran {
  int status = 0;
  std::string out;
  std::string err;
};
Ran RunToEnd(const std::vector<std::string>& command);

}  // namespace vramgate

#include "tests/support/child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "absl/time/clock.h"
#include "admission/check.h"

namespace vramgate {

Child::Child(const std::vector<std::string>& command) {
  int out[2];
  int err[2];
  CHECK(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0, "Child: no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const int error = posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  CHECK(error == 0, "Child: the program does not start");
  close(out[1]);
  close(err[1]);
  out_ = out[0];
  err_ = err[0];
}

Child::~Child() {
  if (!ended_) {
    kill(pid_, SIGKILL);  // a stopped one too
    Reap(/*block=*/true);
  }
  close(out_);
  close(err_);
}

// False: the end, or out of patience.
bool Child::Fill(int fd, std::string& into, absl::Time until) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  const int64_t left_ms = std::max<int64_t>(0, absl::ToInt64Milliseconds(until - absl::Now()));
  if (poll(&ready, 1, static_cast<int>(left_ms)) != 1) {
    ADD_FAILURE() << "a child said nothing within " << kPatience;
    return false;
  }
  char bytes[4096];
  const ssize_t got = read(fd, bytes, sizeof(bytes));
  if (got <= 0) return false;
  into.append(bytes, static_cast<size_t>(got));
  return true;
}

std::string Child::ReadLine() {
  const absl::Time until = absl::Now() + kPatience;
  size_t end = buffered_.find('\n');
  while (end == std::string::npos && Fill(out_, buffered_, until)) end = buffered_.find('\n');
  const std::string line = buffered_.substr(0, end);
  buffered_.erase(0, end == std::string::npos ? buffered_.size() : end + 1);
  return line;
}

std::string Child::ReadAll() {
  const absl::Time until = absl::Now() + kPatience;
  while (Fill(out_, buffered_, until)) {
  }
  return std::exchange(buffered_, "");
}

std::string Child::ReadErrors() {
  std::string errors;
  const absl::Time until = absl::Now() + kPatience;
  while (Fill(err_, errors, until)) {
  }
  return errors;
}

void Child::Signal(int signal) const {
  if (!ended_) kill(pid_, signal);
}

void Child::Stop() {
  if (ended_) return;
  kill(pid_, SIGSTOP);
  int status = 0;
  CHECK(waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status), "Child: it ended where it was to stop");
}

bool Child::Reap(bool block) {
  int status = 0;
  if (ended_ || waitpid(pid_, &status, block ? 0 : WNOHANG) != pid_) return ended_;
  ended_ = true;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return true;
}

bool Child::Running() {
  return !Reap(/*block=*/false);
}

int Child::Wait() {
  const absl::Time until = absl::Now() + kPatience;
  while (Running()) {
    if (absl::Now() > until) {
      ADD_FAILURE() << "a child did not end within " << kPatience;
      kill(pid_, SIGKILL);
      Reap(/*block=*/true);
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return status_;
}

Ran RunToEnd(const std::vector<std::string>& command) {
  Child child(command);
  Ran ran;
  ran.out = child.ReadAll();
  ran.status = child.Wait();
  ran.err = child.ReadErrors();
  return ran;
}

}  // namespace vramgate

// The streams of a plugin's connection: a lease's, and an engine's step reports. Part of plugin_connection.cc, which
// owns them; nobody else includes it. Thread rule: the connection's thread, but for what a Session calls (Write,
// Finish: any thread). Lifetime rule: in the connection's table until OnDeath, or the last message is gone.
#pragma once

#include <memory>

#include "admission/server/plugin_connection.h"
#include "admission/server/session.h"
#include "admission/server/session_talk.h"
#include "admission/server/step_reports.h"

namespace vramgate {

class PluginConnection::Stream {
 public:
  virtual ~Stream() = default;
  // True: it is over, and may go.
  virtual bool OnRequest(const v1::PluginRequest& request) = 0;
  // The peer died.
  virtual void OnDeath() = 0;
  virtual bool holds() const { return false; }
};

class PluginConnection::LeaseStream final : public Stream, public SessionStream {
 public:
  LeaseStream(PluginConnection& connection, uint64_t number);

  // SessionStream, under the Session's lock.
  void Write(const SessionMessage& message) override;
  void Finish(const SessionFinish& finish) override;

  bool OnRequest(const v1::PluginRequest& request) override;
  void OnDeath() override { session_->ProcessDied(connection_.id_); }
  bool holds() const override { return session_->held(); }
  void OnGone() { session_->WriteDone(); }
  void OnLastGone() { session_->StreamClosed(false); }
  uint64_t number() const { return number_; }

 private:
  PluginConnection& connection_;
  const uint64_t number_;
  const StreamLimit::Ticket ticket_;
  const std::shared_ptr<Session> session_;
  SessionTalk talk_;
};

class PluginConnection::StepStream final : public Stream {
 public:
  StepStream(PluginConnection& connection, uint64_t number);

  bool OnRequest(const v1::PluginRequest& request) override;
  void OnDeath() override { reports_.End(); }

 private:
  bool End(const grpc::Status& status);

  PluginConnection& connection_;
  const uint64_t number_;
  const StreamLimit::Ticket ticket_;
  StepReports reports_;
  v1::StepAnswer answer_;
};

}  // namespace vramgate

#include "admission/server/plugin_streams.h"

#include "admission/server/admission_service.h"

namespace vramgate {
namespace {

// A number that is in use for something else.
Refusal InUse() {
  return {Outcome::kRejectedInvalidRequest, "stream",
          "is open already, for something else: a stream's number is free again after its status"};
}

}  // namespace

PluginConnection::LeaseStream::LeaseStream(PluginConnection& connection, uint64_t number)
    : connection_(connection),
      number_(number),
      ticket_(connection.context_.streams),
      session_(std::make_shared<Session>(connection.context_.controller, this, Session::Shape::kStream)),
      talk_(connection.context_.controller, connection.context_.converter, connection.context_.caller, session_) {}

void PluginConnection::LeaseStream::Write(const SessionMessage& message) {
  connection_.Say({.stream = this}, [&](v1::PluginResponse* out) {
    out->set_stream(number_);
    talk_.ToResponse(message, out->mutable_session());
  });
}

void PluginConnection::LeaseStream::Finish(const SessionFinish& finish) {
  const grpc::Status status = talk_.StatusOf(finish);
  connection_.Say({.stream = this, .last = true}, [&](v1::PluginResponse* out) {
    out->set_stream(number_);
    ToProto(status, out->mutable_status());
  });
}

bool PluginConnection::LeaseStream::OnRequest(const v1::PluginRequest& request) {
  if (!ticket_.taken()) {
    session_->Refuse(TooManyStreams());
  } else if (request.has_session()) {
    talk_.OnMessage(request.session(), kNever);
  } else if (request.has_cancel()) {
    session_->Cancelled();
  } else {
    session_->Refuse(InUse());
  }
  return false;  // goes with its last message
}

PluginConnection::StepStream::StepStream(PluginConnection& connection, uint64_t number)
    : connection_(connection),
      number_(number),
      ticket_(connection.context_.streams),
      reports_(connection.context_.controller, connection.context_.converter, connection.id_) {}

bool PluginConnection::StepStream::End(const grpc::Status& status) {
  reports_.End();
  connection_.SayStatus(number_, status);
  return true;
}

bool PluginConnection::StepStream::OnRequest(const v1::PluginRequest& request) {
  const Converter& converter = connection_.context_.converter;
  if (!ticket_.taken()) return End(converter.ToStatus(TooManyStreams()));
  if (request.has_cancel()) return End(grpc::Status::OK);
  if (!request.has_steps()) return End(converter.ToStatus(InUse()));
  if (const std::optional<Refusal> refusal = reports_.Take(request.steps(), &answer_))
    return End(converter.ToStatus(*refusal));
  connection_.Say([&](v1::PluginResponse* out) {
    out->set_stream(number_);
    out->mutable_steps()->Swap(&answer_);
  });
  return false;
}

}  // namespace vramgate

// The trace driver against a sidecar that answers by rote, over real gRPC on a Unix socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <nlohmann/json.hpp>
#include "admission/check.h"
#include "admission/clock.h"
#include "admission/mutex.h"
#include "examples/trace_driver/driver.h"
#include "examples/trace_driver/report.h"
#include "examples/trace_driver/tally.h"
#include "examples/trace_driver/trace.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/support/temporary_directory.h"
#include "vramgate/v1/admission.grpc.pb.h"

namespace vramgate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

// What the fake does with a request is said by its prompt.
constexpr int64_t kGrant = 1;
constexpr int64_t kQueueThenGrant = 2;
constexpr int64_t kRefuse = 3;
constexpr int64_t kBreak = 4;    // a status without a word of vramgate
constexpr int64_t kForever = 5;  // waits until the caller goes

grpc::Status Refusal(const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("vramgate");
  google::rpc::Status status;
  status.set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
  status.add_details()->PackFrom(info);
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, "no room", status.SerializeAsString()};
}

class FakeSidecar final : public v1::AdmissionService::Service {
 public:
  grpc::Status Session(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>* stream) override {
    v1::SessionRequest request;
    if (!stream->Read(&request) || !request.has_admit()) return {grpc::StatusCode::INVALID_ARGUMENT, "no admit"};
    Opened(request.admit());
    const grpc::Status status = Answer(request.admit().demand().prompt_tokens(), *context, *stream);
    MutexLock lock(mutex_);
    --open_;
    return status;
  }

  std::vector<v1::AdmitRequest> requests() {
    MutexLock lock(mutex_);
    return requests_;
  }
  int most_open() {
    MutexLock lock(mutex_);
    return most_open_;
  }

 private:
  using Stream = grpc::ServerReaderWriter<v1::SessionResponse, v1::SessionRequest>;

  static grpc::Status Answer(int64_t prompt_tokens, grpc::ServerContext& context, Stream& stream) {
    v1::SessionRequest request;
    switch (prompt_tokens) {
      case kRefuse:
        return Refusal("QUEUE_FULL");
      case kBreak:
        return {grpc::StatusCode::INTERNAL, "broken"};
      case kForever:
        stream.Write(Queued());
        while (stream.Read(&request)) {
        }
        return context.IsCancelled() ? grpc::Status::CANCELLED : grpc::Status::OK;
      case kQueueThenGrant:
        stream.Write(Queued());
        break;
      default:
        break;
    }
    v1::SessionResponse granted;
    granted.mutable_granted()->set_name("leases/1");
    stream.Write(granted);
    while (stream.Read(&request)) {  // until the half-close
    }
    return grpc::Status::OK;
  }
  static v1::SessionResponse Queued() {
    v1::SessionResponse response;
    response.mutable_queued()->set_position(1);
    return response;
  }
  void Opened(const v1::AdmitRequest& admit) {
    MutexLock lock(mutex_);
    requests_.push_back(admit);
    most_open_ = std::max(most_open_, ++open_);
  }

  Mutex mutex_;
  std::vector<v1::AdmitRequest> requests_ ABSL_GUARDED_BY(mutex_);
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_open_ ABSL_GUARDED_BY(mutex_) = 0;
};

class TraceDriverTest : public ::testing::Test {
 protected:
  TraceDriverTest() {
    grpc::ServerBuilder builder;
    const std::string target = "unix:" + directory_.At("s");
    builder.AddListeningPort(target, grpc::InsecureServerCredentials());
    builder.RegisterService(&sidecar_);
    server_ = builder.BuildAndStart();
    CHECK(server_ != nullptr, "the fake sidecar does not listen");
    stub_ = v1::AdmissionService::NewStub(grpc::CreateChannel(target, grpc::InsecureChannelCredentials()));
  }
  ~TraceDriverTest() override { server_->Shutdown(); }

  std::string WriteTrace(const std::string& text) const {
    const std::string path = directory_.At("trace.csv");
    std::ofstream(path) << text;
    return path;
  }

  static TraceRow Row(int64_t prompt_tokens) {
    return {.arrival = absl::ZeroDuration(), .prompt_tokens = prompt_tokens, .output_tokens = 1, .tenant = "t"};
  }
  // Fast enough that a hold is over in microseconds.
  static DriverOptions Fast() { return {.speed = 1e6, .load = 1, .max_wait = absl::Seconds(3)}; }

  static bool Never() { return false; }
  static void Nothing(const Driver&) {}

  TemporaryDirectory directory_;
  FakeSidecar sidecar_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::AdmissionService::Stub> stub_;
  BootClock clock_;
};

TEST_F(TraceDriverTest, CountsEachRequestOnceUnderWhatBecameOfIt) {
  Driver driver(*stub_, clock_, Fast(),
                {Row(kGrant), Row(kQueueThenGrant), Row(kRefuse), Row(kGrant), Row(kRefuse), Row(kBreak)});
  driver.Run(Never, Nothing);

  EXPECT_THAT(driver.tally().outcomes(),
              ElementsAre(Pair("QUEUE_FULL", 2), Pair("completed", 3), Pair("gRPC INTERNAL", 1)));
  EXPECT_EQ(driver.tally().sent(), 6);
  EXPECT_EQ(driver.tally().ended(), 6);
  EXPECT_EQ(driver.tally().granted(), 3);
  EXPECT_EQ(driver.tally().queued_waits().size(), 1u);
  EXPECT_EQ(driver.broken(), 1);
  EXPECT_EQ(driver.first_error(), "broken");
  EXPECT_EQ(driver.held(), 0);
  EXPECT_EQ(driver.waiting(), 0);

  const nlohmann::json json = nlohmann::json::parse(SummaryJson(driver));
  EXPECT_EQ(json["outcomes"]["completed"], 3);
  EXPECT_EQ(json["queued_wait"]["count"], 1);
  EXPECT_THAT(SummaryText(driver), HasSubstr("QUEUE_FULL"));
  EXPECT_THAT(SummaryText(driver), HasSubstr("time-compressed"));
}

TEST_F(TraceDriverTest, SaysWhatTheTraceAndTheOptionsSay) {
  DriverOptions options = Fast();
  options.model = "m";
  options.max_output_tokens = 77;
  options.speed = 10;
  Driver driver(*stub_, clock_, options, {Row(kRefuse)});
  driver.Run(Never, Nothing);

  ASSERT_EQ(sidecar_.requests().size(), 1u);
  const v1::AdmitRequest request = sidecar_.requests()[0];
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.tenant(), "t");
  EXPECT_EQ(request.demand().prompt_tokens(), kRefuse);
  EXPECT_EQ(request.demand().max_output_tokens(), 77);
  EXPECT_EQ(request.max_wait().seconds(), 0);
  EXPECT_EQ(request.max_wait().nanos(), 300'000'000);  // 3 s of the trace, 10 times faster
}

TEST_F(TraceDriverTest, NeverHasMoreStreamsOpenThanAllowed) {
  DriverOptions options = Fast();
  options.max_streams = 3;
  Driver driver(*stub_, clock_, options, std::vector<TraceRow>(50, Row(kGrant)));
  driver.Run(Never, Nothing);

  EXPECT_EQ(driver.tally().count(kCompleted), 50);
  EXPECT_LE(sidecar_.most_open(), 3);
  EXPECT_GT(driver.held_back(), 0);
  EXPECT_THAT(SummaryText(driver), HasSubstr("--max-streams"));
}

TEST_F(TraceDriverTest, StopCancelsWaitersAndLetsHoldersEnd) {
  DriverOptions options = Fast();
  options.speed = 1e-3;  // a hold would last for minutes
  Driver driver(*stub_, clock_, options, {Row(kGrant), Row(kForever), Row(kForever)});
  driver.Run([&] { return driver.held() == 1 && driver.tally().queued() == 2; }, Nothing);

  EXPECT_EQ(driver.tally().count(kCompleted), 1);
  EXPECT_EQ(driver.tally().count("cancelled"), 2);
  EXPECT_EQ(driver.broken(), 0);
}

TEST_F(TraceDriverTest, RepeatStartsTheTraceOver) {
  DriverOptions options = Fast();
  options.repeat = true;
  options.max_streams = 4;
  Driver driver(*stub_, clock_, options, {Row(kGrant), Row(kRefuse)});
  driver.Run([&] { return driver.tally().ended() >= 10; }, Nothing);
  EXPECT_GE(driver.tally().count("QUEUE_FULL"), 4);
}

TEST_F(TraceDriverTest, ReadsATrace) {
  const auto trace = ReadTrace(WriteTrace("arrival_s,prompt_tokens,output_tokens,tenant\n0.5,374,44,\n4.25,396,0,a\n"));
  ASSERT_TRUE(trace.ok()) << trace.status();
  ASSERT_EQ(trace->size(), 2u);
  EXPECT_EQ((*trace)[0].arrival, absl::Milliseconds(500));
  EXPECT_EQ((*trace)[0].prompt_tokens, 374);
  EXPECT_EQ((*trace)[0].output_tokens, 44);
  EXPECT_EQ((*trace)[1].tenant, "a");
}

TEST_F(TraceDriverTest, RefusesABadTraceWithFileAndLine) {
  const std::string header = "arrival_s,prompt_tokens,output_tokens,tenant\n";
  const std::vector<std::string> bad = {
      "0,1\n",      "x,1,1,\n",  "-1,1,1,\n",          "nan,1,1,\n",
      "0,0,1,\n",   "0,1,-1,\n", "0,1,99999999999,\n", "0,1,1," + std::string(300, 'a'),
      "1e99,1,1,\n"};
  for (const std::string& row : bad) {
    const auto trace = ReadTrace(WriteTrace(header + row));
    EXPECT_FALSE(trace.ok()) << row;
    EXPECT_THAT(std::string(trace.status().message()), HasSubstr("trace.csv:2: ")) << row;
  }
  EXPECT_THAT(std::string(ReadTrace(WriteTrace(header + "2,1,1,\n1,1,1,\n")).status().message()),
              HasSubstr("trace.csv:3: "));
  EXPECT_THAT(std::string(ReadTrace(WriteTrace("time,tokens\n")).status().message()), HasSubstr("trace.csv:1: "));
  EXPECT_FALSE(ReadTrace(WriteTrace(header)).ok());
  EXPECT_EQ(ReadTrace(directory_.At("none.csv")).status().code(), absl::StatusCode::kNotFound);
}

TEST(PercentileTest, IsTheNearestRank) {
  std::vector<absl::Duration> samples;
  for (int i = 100; i >= 1; --i) samples.push_back(absl::Seconds(i));
  EXPECT_EQ(Percentile(samples, 0.5), absl::Seconds(50));
  EXPECT_EQ(Percentile(samples, 0.99), absl::Seconds(99));
  EXPECT_EQ(Percentile(samples, 1), absl::Seconds(100));
  EXPECT_EQ(Percentile({absl::Seconds(7)}, 0.01), absl::Seconds(7));
  EXPECT_EQ(Percentile({}, 0.5), absl::ZeroDuration());
}

}  // namespace
}  // namespace vramgate

// What a caller reads out of an error: the google.rpc details of a gRPC status.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "admission/server/durations.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace vramgate {

struct StatusDetails {
  std::string reason;  // ErrorInfo
  std::string domain;
  std::optional<absl::Duration> retry_after;  // RetryInfo
  std::string quota_subject;                  // QuotaFailure
  std::string field;                          // BadRequest
};

inline StatusDetails DetailsOf(const grpc::Status& status) {
  StatusDetails details;
  google::rpc::Status proto;
  EXPECT_TRUE(proto.ParseFromString(status.error_details()));
  if (!status.error_details().empty()) {
    EXPECT_EQ(proto.code(), status.error_code());
    EXPECT_EQ(proto.message(), status.error_message());
  }
  for (const auto& any : proto.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    google::rpc::QuotaFailure quota;
    google::rpc::BadRequest bad;
    if (any.UnpackTo(&info)) {
      details.reason = info.reason();
      details.domain = info.domain();
    } else if (any.UnpackTo(&retry)) {
      details.retry_after = FromProto(retry.retry_delay());
    } else if (any.UnpackTo(&quota)) {
      details.quota_subject = quota.violations(0).subject();
    } else if (any.UnpackTo(&bad)) {
      details.field = bad.field_violations(0).field();
    } else {
      ADD_FAILURE() << "an unknown detail: " << any.type_url();
    }
  }
  return details;
}
inline std::string ReasonOf(const grpc::Status& status) {
  return DetailsOf(status).reason;
}

}  // namespace vramgate

// What callers without a stream say of their leases, whatever carries it: one code for gRPC's unary calls and the HTTP
// door.
//
//   RenewLease(controller, converter, caller, renewal, &response);      // adds to leases, lost or revoked
//   grpc::Status status = ReleaseLease(controller, converter, caller, request, &response);
//
// Thread rule: any thread, no state. Lifetime rule: nothing is kept.
#pragma once

#include "admission/gate/controller.h"
#include "admission/server/convert.h"
#include "vramgate/v1/admission.pb.h"

namespace vramgate {

// The answer to an Admit that was granted.
void ToAdmitResponse(const Converter& converter, const Decision& grant, std::string_view tenant,
                     v1::AdmitResponse* response);

// Keeps the lease, and takes what the renewal reports.
void RenewLease(Controller& controller, const Converter& converter, const Caller& caller, const v1::Renewal& renewal,
                v1::RenewLeasesResponse* response);

// OK for a lease that is unknown or over, too. INVALID_ARGUMENT: the name is no lease's.
grpc::Status ReleaseLease(Controller& controller, const Converter& converter, const Caller& caller,
                          const v1::ReleaseLeaseRequest& request, v1::ReleaseLeaseResponse* response);

}  // namespace vramgate

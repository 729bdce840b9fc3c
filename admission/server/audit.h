// The auditor reads a ledger file and says whether the gate kept its promise. It knows the file's format
// (docs/reference.md) and shares no code with what writes it or with the gate.
//
//   absl::StatusOr<AuditReport> report = AuditLedgerFile("/var/log/vramgate/ledger.csv");
//   if (report.ok() && !report->clean()) for (const std::string& finding : report->findings) ...
//
// What is found:
// - overrun: used > capacity after a row with delta > 0. A capacity that falls below used is none;
// - leak: `used` is not the sum of the account's deltas (counted where it first differs; sums go on from `used`); or,
// at the run's
//   end, a lease's deltas in an account do not sum to 0 although it was released or expired, or sum to less than 0, or
//   sum to anything but 0 although the run had settled: every account's last `used` is its fixed bytes (the sum of its
//   FIXED rows);
// - open leases: at the run's end still held or lingering, in a run that had not settled. Said, but no leak: the
// process was told to
//   stop before they ended;
// - incomplete: a LOST row (lease sums from before it are then dropped, since rows of them may be missing); rows before
// the first
//   START; a last row without its end of line; an account that does not end in STOP, but for a tenant's account that is
//   empty.
// A run begins with the START rows of its devices and pools: such a START of an account that has started at another
// time, or after a STOP, begins the next run, with all sums anew. (Tenants' accounts come and go within a run.) Peaks
// are over all runs.
//
// Input may be anything: lines, accounts and live leases are bounded, and a malformed row is an error with its line.
// Thread rule: pure functions. Memory: some hundred bytes an account and a live lease.
#pragma once

#include <cstdint>
#include <istream>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vramgate {

struct AuditReport {
  static constexpr size_t kMaxFindings = 20;

  int64_t rows = 0;  // without the header
  int64_t overruns = 0;
  int64_t leaks = 0;
  int64_t leaked_bytes = 0;  // of all leaks, without their signs
  int64_t open_leases = 0;   // at the ends of runs
  int64_t runs = 0;
  bool complete = true;
  std::map<std::string, int64_t> peak_used_bytes;  // by account, as the file writes it
  std::vector<std::string> findings;               // the first kMaxFindings, with their lines

  bool clean() const { return complete && overruns == 0 && leaks == 0; }
};

// INVALID_ARGUMENT: not a ledger, with the line and why. RESOURCE_EXHAUSTED: more accounts or live leases than any gate
// has. DATA_LOSS: reading failed.
absl::StatusOr<AuditReport> AuditLedger(std::istream& in);

// The same for a file; errors name it. NOT_FOUND, PERMISSION_DENIED, ...: cannot be opened.
absl::StatusOr<AuditReport> AuditLedgerFile(const std::string& path);

}  // namespace vramgate

#include "admission/server/audit.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "admission/server/audit_row.h"

namespace vramgate {
namespace {

using Event = AuditRow::Event;

constexpr std::string_view kHeader = "t_s,event,lease,account,delta_bytes,used_bytes,capacity_bytes";
constexpr size_t kMaxLineBytes = 4096;
constexpr size_t kMaxAccounts = 200'000;
constexpr size_t kMaxLeases = size_t{1} << 22;

struct Account {
  int64_t started_ns = -1;  // -1: seen without a START
  int64_t sum_bytes = 0;    // of the deltas
  int64_t used_bytes = 0;   // as the last row said
  int64_t fixed_bytes = 0;  // of the FIXED rows
  bool stopped = false;
  bool resync = false;  // rows are missing: the next one's `used` is taken as it is
};

struct Lease {
  bool ended = false;                                            // released or expired
  int64_t line = 0;                                              // of its last row
  absl::InlinedVector<std::pair<std::string, int64_t>, 2> sums;  // by account
};

bool IsTenant(std::string_view account) {
  return account.starts_with("tenant/");
}

class Auditor {
 public:
  // Not OK: the row is impossible, or over a limit.
  absl::Status Add(const AuditRow& row, int64_t line) {
    line_ = line;
    ++report_.rows;
    if (row.event == Event::kLost) {
      Lossy(absl::StrCat(row.lease, " rows were lost"));
      return absl::OkStatus();
    }
    if (BeginsRun(row)) FinishRun(row.time_ns);
    const std::string name(row.account);
    Account& account = accounts_[name];
    if (accounts_.size() > kMaxAccounts) return absl::ResourceExhaustedError("more accounts than any gate has");
    if (absl::Status s = AddToAccount(row, name, account); !s.ok()) return s;
    if (row.event == Event::kFixed ||
        (row.delta_bytes == 0 && row.event != Event::kRelease && row.event != Event::kExpire)) {
      return absl::OkStatus();
    }
    return AddToLease(row, name);
  }

  void TornEnd(int64_t line) {
    line_ = line;
    Lossy("the last row has no end");
  }

  AuditReport Finish() {
    FinishRun(-1);
    return std::move(report_);
  }

 private:
  void Find(const std::string& text) { Find(line_, text); }
  void Find(int64_t line, const std::string& text) {
    if (report_.findings.size() >= AuditReport::kMaxFindings) return;
    report_.findings.push_back(absl::StrCat("line ", line, ": ", text));
  }

  // From here on the rows before are not all known.
  void Lossy(const std::string& why) {
    report_.complete = false;
    lossy_ = true;
    leases_.clear();
    for (auto& [name, account] : accounts_) account.resync = true;
    Find(absl::StrCat("incomplete: ", why));
  }

  void Leak(int64_t line, int64_t bytes, const std::string& text) {
    ++report_.leaks;
    const int64_t magnitude =
        bytes == std::numeric_limits<int64_t>::min() ? std::numeric_limits<int64_t>::max() : std::abs(bytes);
    if (__builtin_add_overflow(report_.leaked_bytes, magnitude, &report_.leaked_bytes)) {
      report_.leaked_bytes = std::numeric_limits<int64_t>::max();
    }
    Find(line, absl::StrCat("leak: ", text));
  }

  bool BeginsRun(const AuditRow& row) const {
    if (row.event != Event::kStart || IsTenant(row.account)) return false;
    const auto known = accounts_.find(std::string(row.account));
    return stops_ > 0 || (known != accounts_.end() && known->second.started_ns != row.time_ns);
  }

  absl::Status AddToAccount(const AuditRow& row, const std::string& name, Account& account) {
    if (row.event == Event::kStart) {
      account.started_ns = row.time_ns;
    } else if (account.started_ns < 0 && !account.resync) {
      account.resync = true;
      if (!lossy_) Lossy(absl::StrCat(name, " has rows before its START"));
    }
    if (__builtin_add_overflow(account.sum_bytes, row.delta_bytes, &account.sum_bytes) ||
        __builtin_add_overflow(account.fixed_bytes, row.event == Event::kFixed ? row.delta_bytes : 0,
                               &account.fixed_bytes)) {
      return absl::InvalidArgumentError("the sum of delta_bytes leaves 64 bits");
    }
    if (account.resync) {
      account.resync = false;
      account.started_ns = std::max<int64_t>(account.started_ns, 0);
    } else if (account.sum_bytes != row.used_bytes) {
      int64_t difference = 0;
      if (__builtin_sub_overflow(row.used_bytes, account.sum_bytes, &difference))
        difference = std::numeric_limits<int64_t>::max();
      Leak(line_, difference,
           absl::StrFormat("%s: used %d is not the sum of its deltas, %d", name, row.used_bytes, account.sum_bytes));
    }
    account.sum_bytes = account.used_bytes = row.used_bytes;
    if (row.delta_bytes > 0 && row.used_bytes > row.capacity_bytes) {
      ++report_.overruns;
      Find(absl::StrFormat("overrun: %s: used %d > capacity %d", name, row.used_bytes, row.capacity_bytes));
    }
    stops_ += static_cast<int64_t>(row.event == Event::kStop) - static_cast<int64_t>(account.stopped);
    account.stopped = row.event == Event::kStop;
    const auto [peak, is_new] = report_.peak_used_bytes.emplace(name, row.used_bytes);
    if (!is_new) peak->second = std::max(peak->second, row.used_bytes);
    if (report_.peak_used_bytes.size() > kMaxAccounts)
      return absl::ResourceExhaustedError("more accounts than any gate has");
    return absl::OkStatus();
  }

  absl::Status AddToLease(const AuditRow& row, const std::string& name) {
    const bool begins = row.event == Event::kGrant || row.event == Event::kInherit;
    auto found = leases_.find(row.lease);
    if (found == leases_.end()) {
      if (row.delta_bytes == 0 || (lossy_ && !begins))
        return absl::OkStatus();  // nothing to keep, or its grant may be lost
      if (leases_.size() >= kMaxLeases) return absl::ResourceExhaustedError("more live leases than any gate has");
      found = leases_.try_emplace(row.lease).first;
    }
    Lease& lease = found->second;
    lease.line = line_;
    auto sum = std::find_if(lease.sums.begin(), lease.sums.end(), [&](const auto& s) { return s.first == name; });
    if (sum == lease.sums.end()) sum = lease.sums.insert(lease.sums.end(), {name, 0});
    if (__builtin_add_overflow(sum->second, row.delta_bytes, &sum->second)) {
      return absl::InvalidArgumentError("the sum of a lease's delta_bytes leaves 64 bits");
    }
    lease.ended = lease.ended || row.event == Event::kRelease || row.event == Event::kExpire;
    if (sum->second == 0) lease.sums.erase(sum);
    if (lease.sums.empty()) leases_.erase(found);
    return absl::OkStatus();
  }

  // Judges the run that ends here, and drops all but the accounts that started at `next_ns`: the next run's.
  void FinishRun(int64_t next_ns) {
    bool settled = true;
    int64_t running = 0;
    std::string first_running;
    for (const auto& [name, account] : accounts_) {
      if (account.started_ns == next_ns) continue;
      settled = settled && account.used_bytes == account.fixed_bytes;
      if (account.stopped || (IsTenant(name) && account.used_bytes == 0)) continue;
      if (running++ == 0 || name < first_running) first_running = name;
    }
    if (accounts_.empty() || running > 0) {
      report_.complete = false;
      Find(accounts_.empty()
               ? "incomplete: a run without accounts"
               : absl::StrCat("incomplete: ", running, " accounts do not end in STOP, such as ", first_running));
    }
    JudgeLeases(settled && running == 0);
    ++report_.runs;
    absl::erase_if(accounts_, [&](const auto& entry) { return entry.second.started_ns != next_ns; });
    leases_.clear();
    stops_ = 0;
    lossy_ = false;
  }

  void JudgeLeases(bool settled) {
    std::vector<uint64_t> ids;
    ids.reserve(leases_.size());
    for (const auto& [id, lease] : leases_) ids.push_back(id);
    std::sort(ids.begin(), ids.end());
    int64_t open = 0;
    for (const uint64_t id : ids) {
      const Lease& lease = leases_.at(id);
      bool is_open = false;
      for (const auto& [account, sum] : lease.sums) {
        if (lease.ended || settled || (sum < 0 && !lossy_)) {
          Leak(lease.line, sum,
               absl::StrFormat("lease %016x %s with %d bytes of %s", id, lease.ended ? "ended" : "is left", sum,
                               account));
        } else {
          is_open = true;
        }
      }
      open += is_open ? 1 : 0;
    }
    report_.open_leases += open;
    if (open > 0) Find(absl::StrCat("open leases: ", open, " were still held when the run ended"));
  }

  AuditReport report_;
  absl::flat_hash_map<std::string, Account> accounts_;
  absl::flat_hash_map<uint64_t, Lease> leases_;  // with bytes
  int64_t stops_ = 0;                            // accounts whose last row is STOP
  bool lossy_ = false;                           // rows of this run are missing
  int64_t line_ = 0;
};

absl::Status At(int64_t line, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat("line ", line, ": ", status.message()));
}

}  // namespace

absl::StatusOr<AuditReport> AuditLedger(std::istream& in) {
  Auditor auditor;
  std::array<char, kMaxLineBytes> buffer;
  int64_t line = 0;
  while (in.getline(buffer.data(), buffer.size())) {
    ++line;
    const bool torn = in.eof();  // no '\n' was there to be taken
    const std::string_view text(buffer.data(), static_cast<size_t>(in.gcount()) - (torn ? 0 : 1));
    if (line == 1) {
      if (text != kHeader) return At(line, absl::InvalidArgumentError("not the header of a ledger"));
      continue;
    }
    if (torn) {
      auditor.TornEnd(line);
      break;
    }
    const absl::StatusOr<AuditRow> row = ParseAuditRow(text);
    if (!row.ok()) return At(line, row.status());
    if (absl::Status s = auditor.Add(*row, line); !s.ok()) return At(line, s);
  }
  if (in.bad()) return absl::DataLossError(absl::StrCat("cannot be read beyond line ", line));
  if (!in.eof()) return At(line + 1, absl::InvalidArgumentError(absl::StrCat("longer than ", kMaxLineBytes, " bytes")));
  if (line == 0) return absl::InvalidArgumentError("empty: not even the header of a ledger");
  return auditor.Finish();
}

absl::StatusOr<AuditReport> AuditLedgerFile(const std::string& path) {
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::ErrnoToStatus(errno, path);
  absl::StatusOr<AuditReport> report = AuditLedger(in);
  if (!report.ok()) return absl::Status(report.status().code(), absl::StrCat(path, ": ", report.status().message()));
  return report;
}

}  // namespace vramgate

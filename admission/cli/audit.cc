#include "admission/cli/audit.h"

#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "admission/server/audit.h"
#include "admission/units.h"

namespace vramgate {
namespace {

struct AuditFlags {
  std::string file;
  std::string format = "text";
};

std::string Json(const AuditReport& report) {
  nlohmann::ordered_json json;
  json["rows"] = report.rows;
  json["overruns"] = report.overruns;
  json["leaks"] = report.leaks;
  json["leaked_bytes"] = report.leaked_bytes;
  json["complete"] = report.complete;
  json["peak_used_bytes"] = report.peak_used_bytes;
  json["open_leases"] = report.open_leases;
  json["runs"] = report.runs;
  json["findings"] = report.findings;
  return json.dump(2);
}

void PrintText(const AuditReport& report, std::ostream& out) {
  out << (report.clean() ? "clean" : "NOT CLEAN") << ": " << report.rows << " rows of " << report.runs << " runs, "
      << report.overruns << " overruns, " << report.leaks << " leaks (" << FormatBytes(report.leaked_bytes) << "), "
      << (report.complete ? "complete" : "incomplete") << ", " << report.open_leases << " open leases\n";
  for (const auto& [account, bytes] : report.peak_used_bytes) {
    out << "  peak of " << account << ": " << FormatBytes(bytes) << "\n";
  }
  for (const std::string& finding : report.findings) out << "  " << finding << "\n";
}

ExitCode Run(const AuditFlags& flags) {
  const absl::StatusOr<AuditReport> report = AuditLedgerFile(flags.file);
  if (!report.ok()) {
    std::cerr << "audit: " << report.status().message() << "\n";
    return ExitCode::kUsage;
  }
  if (flags.format == "json") {
    std::cout << Json(*report) << "\n";
  } else {
    PrintText(*report, std::cout);
  }
  return report->clean() ? ExitCode::kDone : ExitCode::kFailure;
}

}  // namespace

Command AuditCommand() {
  const auto flags = std::make_shared<AuditFlags>();
  return {
      .name = "audit",
      .help = "Look for overruns and leaks in a ledger file",
      .flags = {{.names = "file",
                 .target = &flags->file,
                 .type = "FILE",
                 .help = "what `vramgate serve --ledger` wrote",
                 .required = true},
                {.names = "--format",
                 .target = &flags->format,
                 .type = "FORMAT",
                 .help = "text or json (default: text)",
                 .choices = {"text", "json"}}},
      .run = [flags](const Command&) { return Run(*flags); },
  };
}

}  // namespace vramgate

#include "plugin/c/wire.h"

#include <protozero/pbf_writer.hpp>

namespace vramgate::plugin {
namespace {

using protozero::data_view;
using protozero::pbf_writer;

constexpr size_t kHeadBytes = 4;
constexpr int64_t kNsPerS = 1'000'000'000;

// Of PluginRequest.
enum Number : uint32_t {
  kStream = 1,
  kSession = 2,
  kSteps = 4,
  kLoad = 5,
  kUnload = 6,
};

data_view ToData(std::string_view text) {
  return {text.data(), text.size()};
}

void AddDuration(pbf_writer& parent, uint32_t number, int64_t ns) {
  pbf_writer duration(parent, number);
  duration.add_int64(1, ns / kNsPerS);
  duration.add_int32(2, static_cast<int32_t>(ns % kNsPerS));
}

// One frame: `fill` writes the PluginRequest.
template <typename Fill>
void AppendFrame(uint64_t stream, std::string* out, Fill fill) {
  const size_t begin = out->size();
  out->append(kHeadBytes, '\0');
  {
    pbf_writer request(*out);
    request.add_uint64(kStream, stream);
    fill(request);
  }
  const size_t bytes = out->size() - begin - kHeadBytes;
  for (size_t i = 0; i < kHeadBytes; ++i) (*out)[begin + i] = static_cast<char>(bytes >> (8 * i) & 0xff);
}

void AddUsage(pbf_writer& parent, uint32_t number, const vg_usage& usage) {
  pbf_writer message(parent, number);
  if (usage.prompt_tokens >= 0) message.add_int64(1, usage.prompt_tokens);
  if (usage.output_tokens >= 0) message.add_int64(2, usage.output_tokens);
}

void AddProgress(pbf_writer& parent, uint32_t number, const vg_progress& progress) {
  pbf_writer message(parent, number);
  message.add_string(1, ToData(View(progress.lease)));
  message.add_int64(2, progress.output_tokens);
}

}  // namespace

std::string EncodeAdmit(const vg_admit_args& args, std::string_view request_id) {
  std::string out;
  pbf_writer admit(out);
  admit.add_string(1, ToData(request_id));
  admit.add_string(2, ToData(View(args.model)));
  if (args.tenant.size > 0) admit.add_string(3, ToData(View(args.tenant)));
  if (args.priority != 0) admit.add_int32(4, args.priority);
  {
    pbf_writer demand(admit, 5);
    if (args.prompt_tokens >= 0) demand.add_int64(1, args.prompt_tokens);
    if (args.max_output_tokens >= 0) demand.add_int64(2, args.max_output_tokens);
    if (args.prompt_bytes >= 0) demand.add_int64(3, args.prompt_bytes);
    if (args.sequences != 1) demand.add_int32(4, args.sequences);
    if (args.cached_tokens >= 0) demand.add_int64(5, args.cached_tokens);
    if (args.vram_bytes >= 0) demand.add_int64(6, args.vram_bytes);
  }
  if (args.instance.size > 0) admit.add_string(8, ToData(View(args.instance)));
  if (args.revocable != 0) admit.add_bool(11, true);
  return out;
}

void AppendAdmit(uint64_t stream, const Admit& admit, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer session(request, kSession);
    // Fields of one message may stand in any order: what changes follows what does not.
    std::string changing;
    {
      pbf_writer rest(changing);
      if (admit.max_wait_ns >= 0) AddDuration(rest, 6, admit.max_wait_ns);
      if (!admit.reattach.empty()) rest.add_string(9, ToData(admit.reattach));
    }
    session.add_bytes_vectored(1, ToData(admit.admit), changing);
  });
}

void AppendUsage(uint64_t stream, const vg_usage& usage, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer session(request, kSession);
    AddUsage(session, 2, usage);
  });
}

void AppendExtend(uint64_t stream, int64_t tokens, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer session(request, kSession);
    pbf_writer extend(session, 3);
    extend.add_int64(1, tokens);
  });
}

void AppendRevokeAck(uint64_t stream, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer session(request, kSession);
    session.add_message(4, "", 0);
  });
}

void AppendEnd(uint64_t stream, const vg_usage& usage, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer session(request, kSession);
    pbf_writer end(session, 5);
    if (usage.prompt_tokens >= 0 || usage.output_tokens >= 0) AddUsage(end, 1, usage);
    end.add_enum(2, usage.outcome == 0 ? VG_COMPLETED : usage.outcome);
  });
}

void AppendSteps(uint64_t stream, const vg_step_report& report, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer steps(request, kSteps);
    steps.add_string(1, ToData(View(report.model)));
    steps.add_string(2, ToData(View(report.instance)));
    steps.add_int64(3, report.steps);
    for (size_t i = 0; i < report.ended_count; ++i) AddProgress(steps, 4, report.ended[i]);
    for (size_t i = 0; i < report.emitted_count; ++i) AddProgress(steps, 5, report.emitted[i]);
  });
}

void AppendLoad(uint64_t stream, bool load, std::string_view model, std::string_view instance, std::string* out) {
  AppendFrame(stream, out, [&](pbf_writer& request) {
    pbf_writer message(request, load ? kLoad : kUnload);
    message.add_string(1, ToData(model));
    message.add_string(2, ToData(instance));
  });
}

void AppendPing(uint64_t stream, std::string* out) {
  AppendFrame(stream, out, [](pbf_writer&) {});
}

}  // namespace vramgate::plugin

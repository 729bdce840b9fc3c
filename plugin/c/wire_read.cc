// The reading half of wire.h.
// What a getter finds of another type than the schema says is garbage, within the frame's bounds: nothing to abort for.
#define protozero_assert(x) static_cast<void>(0)

#include <protozero/pbf_reader.hpp>

#include "plugin/c/wire.h"

namespace vramgate::plugin {
namespace {

using protozero::data_view;
using protozero::pbf_reader;

constexpr int64_t kNsPerS = 1'000'000'000;

// Of PluginResponse.
enum Number : uint32_t { kStream = 1, kSession = 2, kStatus = 3, kSteps = 4, kLoad = 5, kUnload = 6 };

std::string_view ToView(data_view data) {
  return {data.data(), data.size()};
}

int64_t ReadDuration(pbf_reader duration) {
  int64_t seconds = 0;
  int64_t nanos = 0;
  while (duration.next()) {
    switch (duration.tag()) {
      case 1:
        seconds = duration.get_int64();
        break;
      case 2:
        nanos = duration.get_int32();
        break;
      default:
        duration.skip();
    }
  }
  constexpr int64_t kMostSeconds = int64_t{1} << 32;
  return seconds < 0 ? 0 : (seconds > kMostSeconds ? kMostSeconds : seconds) * kNsPerS + nanos;
}

void ReadQueued(pbf_reader queued, Response* out) {
  out->kind = Response::Kind::kQueued;
  while (queued.next()) {
    switch (queued.tag()) {
      case 1:
        out->position = queued.get_int32();
        break;
      case 2:
        out->ahead_total = queued.get_int32();
        break;
      case 3:
        out->estimated_wait_ns = ReadDuration(queued.get_message());
        break;
      default:
        queued.skip();
    }
  }
}

int64_t ReadCharge(pbf_reader charge) {
  int64_t bytes = 0;
  while (charge.next()) {
    if (charge.tag() == 2) {
      bytes = charge.get_int64();
    } else {
      charge.skip();
    }
  }
  return bytes;
}

void ReadLease(pbf_reader lease, Response::Kind kind, Response* out) {
  out->kind = kind;
  while (lease.next()) {
    switch (lease.tag()) {
      case 1:
        out->lease = ToView(lease.get_view());
        break;
      case 3:
        out->instance = ToView(lease.get_view());
        break;
      case 4:
        if (__builtin_add_overflow(out->vram_bytes, ReadCharge(lease.get_message()), &out->vram_bytes))
          out->vram_bytes = INT64_MAX;
        break;
      case 8:
        out->granted_tokens = lease.get_int64();
        break;
      default:
        lease.skip();
    }
  }
}

void ReadRevoke(pbf_reader revoke, Response* out) {
  out->kind = Response::Kind::kRevoke;
  while (revoke.next()) {
    switch (revoke.tag()) {
      case 1:
        out->message = ToView(revoke.get_view());
        break;
      case 2:
        out->grace_ns = ReadDuration(revoke.get_message());
        break;
      default:
        revoke.skip();
    }
  }
}

void ReadSession(pbf_reader session, Response* out) {
  while (session.next()) {
    switch (session.tag()) {
      case 1:
        ReadQueued(session.get_message(), out);
        break;
      case 2:
        ReadLease(session.get_message(), Response::Kind::kGranted, out);
        break;
      case 3:
        ReadLease(session.get_message(), Response::Kind::kExtended, out);
        break;
      case 4:
        ReadRevoke(session.get_message(), out);
        break;
      default:
        session.skip();
    }
  }
}

// A google.protobuf.Any: ErrorInfo's reason and RetryInfo's delay are what is of use here.
void ReadDetail(pbf_reader any, Response* out) {
  std::string_view type;
  data_view value;
  while (any.next()) {
    switch (any.tag()) {
      case 1:
        type = ToView(any.get_view());
        break;
      case 2:
        value = any.get_view();
        break;
      default:
        any.skip();
    }
  }
  const bool error_info = type.ends_with("/google.rpc.ErrorInfo");
  if (!error_info && !type.ends_with("/google.rpc.RetryInfo")) return;
  pbf_reader detail(value);
  while (detail.next()) {
    if (detail.tag() != 1) {
      detail.skip();
    } else if (error_info) {
      out->reason = ToView(detail.get_view());
    } else {
      out->retry_after_ns = ReadDuration(detail.get_message());
    }
  }
}

void ReadStatus(pbf_reader status, Response* out) {
  out->kind = Response::Kind::kStatus;
  while (status.next()) {
    switch (status.tag()) {
      case 1:
        out->code = status.get_int32();
        break;
      case 2:
        out->message = ToView(status.get_view());
        break;
      case 3:
        ReadDetail(status.get_message(), out);
        break;
      default:
        status.skip();
    }
  }
}

void ReadSteps(pbf_reader steps, Response* out) {
  out->kind = Response::Kind::kSteps;
  while (steps.next()) {
    switch (steps.tag()) {
      case 1:
        out->stop.push_back(ToView(steps.get_view()));
        break;
      case 2:
        out->lost.push_back(ToView(steps.get_view()));
        break;
      default:
        steps.skip();
    }
  }
}

void ReadLoaded(pbf_reader loaded, Response::Kind kind, Response* out) {
  out->kind = kind;
  while (loaded.next()) {
    if (kind == Response::Kind::kLoaded && loaded.tag() == 2) {
      out->vram_bytes = loaded.get_int64();
    } else {
      loaded.skip();
    }
  }
}

void ReadResponse(pbf_reader response, Response* out) {
  while (response.next()) {
    switch (response.tag()) {
      case kStream:
        out->stream = response.get_uint64();
        break;
      case kSession:
        ReadSession(response.get_message(), out);
        break;
      case kStatus:
        ReadStatus(response.get_message(), out);
        break;
      case kSteps:
        ReadSteps(response.get_message(), out);
        break;
      case kLoad:
        ReadLoaded(response.get_message(), Response::Kind::kLoaded, out);
        break;
      case kUnload:
        ReadLoaded(response.get_message(), Response::Kind::kUnloaded, out);
        break;
      default:
        response.skip();
    }
  }
}

}  // namespace

bool Decode(std::string_view frame, Response* out) {
  *out = {};
  try {
    ReadResponse(pbf_reader(frame.data(), frame.size()), out);
    return true;
  } catch (const protozero::exception&) {
    return false;
  }
}

}  // namespace vramgate::plugin

#include "admission/server/background.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "admission/units.h"
#include "gpu/capacity.h"

namespace vramgate {
namespace {

constexpr absl::Duration kTellPositionsEvery = absl::Seconds(1);

AccountId DeviceAccount(size_t device) {
  return AccountId{static_cast<int32_t>(device)};
}  // devices come first

}  // namespace

Background::Background(Controller& controller, Devices& devices, Say say)
    : controller_(controller), devices_(devices), say_(std::move(say)), polled_(devices.size()) {
  for (size_t d = 0; d < devices_.size(); ++d) Poll(d);
  threads_.emplace_back([this] { RunTimers(); });
  for (size_t d = 0; d < devices_.size(); ++d) threads_.emplace_back([this, d] { RunPolls(d); });
}

void Background::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  controller_.Wake();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

// False: stop.
bool Background::SleepFor(absl::Duration d) {
  MutexLock lock(mutex_);
  if (!stopping_) wake_.wait_for(mutex_, absl::ToChronoNanoseconds(d));
  return !stopping_;
}

void Background::RunTimers() {
  Instant tell = controller_.Now() + kTellPositionsEvery;
  absl::Duration most = kTellPositionsEvery;
  for (size_t d = 0; d < devices_.size(); ++d) most = std::min(most, devices_.stale_after(d) / 2);
  while (true) {
    controller_.WaitUntilDue(most);
    {
      MutexLock lock(mutex_);
      if (stopping_) return;
    }
    controller_.Advance();
    MarkStale();
    if (controller_.Now() < tell) continue;
    tell = controller_.Now() + kTellPositionsEvery;
    controller_.TellPositions();
  }
}

void Background::RunPolls(size_t device) {
  while (SleepFor(devices_.poll_interval(device))) Poll(device);
}

void Background::Poll(size_t device) {
  const Account account = controller_.GetAccount(DeviceAccount(device));
  DeviceLedger ledger{.fixed_bytes = account.fixed_bytes,
                      .dynamic_reserved_bytes = account.reserved_bytes,
                      .dynamic_high_water_bytes = account.peak_reserved_bytes};
  const absl::StatusOr<Gate::DeviceReading> reading = devices_.Read(device, ledger, controller_.Now());
  bool failing = false;
  bool was_failing = false;
  {
    MutexLock lock(mutex_);
    Polled& polled = polled_[device];
    was_failing = polled.failing;
    failing = polled.failing = !reading.ok();
    if (reading.ok()) {
      polled.last = *reading;
      polled.stale = false;
    }
  }
  if (reading.ok()) controller_.SetReading(DeviceAccount(device), *reading);
  if (failing && !was_failing)
    say_(true, absl::StrCat("device ", devices_.id(device), ": ", reading.status().message()));
  if (!failing && was_failing) say_(false, absl::StrCat("device ", devices_.id(device), ": read again"));
}

// A device without a young reading gets no more grants.
void Background::MarkStale() {
  const Instant now = controller_.Now();
  for (size_t d = 0; d < devices_.size(); ++d) {
    Gate::DeviceReading reading;
    {
      MutexLock lock(mutex_);
      Polled& polled = polled_[d];
      const std::optional<int64_t> read_at = polled.last ? std::optional(polled.last->read_at.ns) : std::nullopt;
      if (polled.stale || !AgeOf(read_at, now.ns, absl::ToInt64Nanoseconds(devices_.stale_after(d))).stale) continue;
      polled.stale = true;
      if (polled.last) reading = *polled.last;
    }
    reading.stale = true;
    controller_.SetReading(DeviceAccount(d), reading);
    say_(true,
         absl::StrCat("device ", devices_.id(d), ": no reading for ", absl::FormatDuration(devices_.stale_after(d)),
                      ": nothing is granted there until one comes"));
  }
}

}  // namespace vramgate

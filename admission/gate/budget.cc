#include "admission/gate/budget.h"

#include <algorithm>

#include "admission/check.h"

namespace vramgate {

void Charges::Add(AccountId account, int64_t bytes) {
  CHECK(bytes >= 0, "Charges: negative bytes");
  if (bytes == 0) return;
  CHECK(size_ < static_cast<int>(charges_.size()), "Charges: more accounts than an instance can have");
  charges_[static_cast<size_t>(size_++)] = {account, bytes};
}

int64_t Charges::bytes(AccountId account) const {
  for (const Charge& charge : list()) {
    if (charge.account == account) return charge.bytes;
  }
  return 0;
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    Reset();
    budget_ = std::exchange(other.budget_, nullptr);
    held_ = other.held_;
    lingering_ = std::exchange(other.lingering_, false);
  }
  return *this;
}

void Reservation::Reset() {
  if (budget_ == nullptr) return;
  SetLingering(false);
  for (const Charge& charge : held_.list()) {
    Account& account = budget_->accounts_[Index(charge.account)];
    account.reserved_bytes -= charge.bytes;
    --account.held;
    CHECK(account.reserved_bytes >= 0 && account.held >= 0, "Reservation: an account was given back more than it lent");
  }
  --budget_->reservations_;
  budget_ = nullptr;
  held_ = Charges();
}

bool Reservation::TryGrow(AccountId id, int64_t bytes) {
  CHECK(budget_ != nullptr && bytes > 0, "Reservation::TryGrow: holds nothing, or nothing to grow by");
  Account& account = budget_->accounts_[Index(id)];
  if (bytes > account.free_bytes()) return false;
  for (Charge& charge : std::span(held_.charges_.data(), static_cast<size_t>(held_.size_))) {
    if (charge.account != id) continue;
    charge.bytes += bytes;
    account.reserved_bytes += bytes;
    account.peak_reserved_bytes = std::max(account.peak_reserved_bytes, account.reserved_bytes);
    if (lingering_) account.lingering_bytes += bytes;
    return true;
  }
  CHECK(held_.size_ < static_cast<int>(held_.charges_.size()), "Reservation: more accounts than an instance can have");
  held_.charges_[static_cast<size_t>(held_.size_++)] = {id, 0};  // held nothing of it so far
  ++account.held;
  return TryGrow(id, bytes);
}

void Reservation::SetLingering(bool lingering) {
  if (lingering == lingering_ || budget_ == nullptr) return;
  lingering_ = lingering;
  for (const Charge& charge : held_.list()) {
    Account& account = budget_->accounts_[Index(charge.account)];
    account.lingering_bytes += lingering ? charge.bytes : -charge.bytes;
    CHECK(account.lingering_bytes >= 0, "Reservation: more bytes stopped lingering than did");
  }
}

Budget::~Budget() {
  CHECK(reservations_ == 0, "Budget: destroyed before its Reservations");
}

AccountId Budget::AddAccount(Account account) {
  accounts_.push_back(std::move(account));
  return AccountId{static_cast<int32_t>(accounts_.size() - 1)};
}

std::optional<Reservation> Budget::TryReserve(const Charges& charges) {
  for (const Charge& charge : charges.list()) {
    if (charge.bytes > accounts_[Index(charge.account)].free_bytes()) return std::nullopt;
  }
  for (const Charge& charge : charges.list()) {
    Account& account = accounts_[Index(charge.account)];
    account.reserved_bytes += charge.bytes;
    account.peak_reserved_bytes = std::max(account.peak_reserved_bytes, account.reserved_bytes);
    ++account.held;
  }
  ++reservations_;
  return Reservation(this, charges);
}

}  // namespace vramgate

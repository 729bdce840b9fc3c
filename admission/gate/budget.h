// The budget keeps the sums: accounts (a device, a model's KV pool, a tenant's hard share), what is fixed in each, what
// is reserved, and how much may be. Bytes are held only by a Reservation.
//
//   Charges charges;
//   charges.Add(device0, GiB(3));
//   std::optional<Reservation> held = budget.TryReserve(charges);   // nullopt: nothing was taken
//   lease.reservation = *std::move(held);                           // bytes come back when it is destroyed or reset
//
// Used by the Gate. Thread rule: confined to the Gate's thread. Lifetime rule: the Budget outlives its Reservations
// (CHECKed in ~Budget). Nothing here allocates after construction, except AddAccount beyond what was reserved for.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "admission/types.h"

namespace vramgate {

inline constexpr int64_t kUnlimitedBytes = std::numeric_limits<int64_t>::max();
inline constexpr AccountId kNoAccount{-1};

struct Account {
  std::string name;                          // as in the ledger: "device/0", "pool/llama/a", "tenant/team-a"
  int64_t capacity_bytes = kUnlimitedBytes;  // most that may be used now, fixed bytes included
  int64_t ceiling_bytes = kUnlimitedBytes;   // most that it can become: what "never fits" is measured against
  int64_t fixed_bytes = 0;                   // held by loaded models whatever the load
  int64_t reserved_bytes = 0;                // held by Reservations
  int64_t lingering_bytes = 0;               // of the reserved: holders gone, bytes still counted
  int64_t peak_reserved_bytes = 0;           // high-water mark of reserved_bytes
  int64_t foreign_bytes = 0;                 // devices: taken by nobody vramgate knows; already off the capacity
  int64_t context_bytes = 0;                 // devices: the sidecar's own context; already off the capacity
  int64_t total_bytes = 0;                   // devices: as reported
  Instant read_at;                           // devices: when the last good reading was taken
  bool stale = false;                        // devices: too old a reading: no grants
  int32_t overusers = 0;                     // leases that use more than fits here: no grants
  int32_t held = 0;                          // Reservations that charge this account

  int64_t used_bytes() const { return fixed_bytes + reserved_bytes; }
  // Bytes that may still be reserved; 0 when used is above a capacity that fell.
  int64_t free_bytes() const { return capacity_bytes > used_bytes() ? capacity_bytes - used_bytes() : 0; }
};

struct Charge {
  AccountId account = kNoAccount;
  int64_t bytes = 0;
};

// What one reservation is charged to: every device of an instance, its pool, the tenant. An account stands in it at
// most once.
class Charges {
 public:
  // REQUIRES: bytes >= 0, `account` not in here yet. A charge of 0 bytes is left out.
  void Add(AccountId account, int64_t bytes);
  std::span<const Charge> list() const { return {charges_.data(), static_cast<size_t>(size_)}; }
  // Bytes charged to `account`; 0 where it is not charged.
  int64_t bytes(AccountId account) const;
  bool empty() const { return size_ == 0; }

 private:
  friend class Reservation;
  std::array<Charge, kMaxDevicesPerInstance + 2> charges_;  // devices, pool, tenant
  int size_ = 0;
};

class Budget;

// Holds bytes of one or more accounts until it is destroyed or reset: all of them or none.
class Reservation {
 public:
  Reservation() = default;  // holds nothing
  Reservation(Reservation&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), held_(other.held_) {}
  Reservation& operator=(Reservation&& other) noexcept;  // frees what it held
  ~Reservation() { Reset(); }

  // Gives everything back.
  void Reset();
  // Grows the charge on `account` by `bytes` where they fit. False: unchanged. REQUIRES: holds something already, bytes
  // > 0.
  [[nodiscard]] bool TryGrow(AccountId account, int64_t bytes);
  // Moves the lingering mark of the accounts: of what they reserve, these bytes linger (or no longer do).
  void SetLingering(bool lingering);
  const Charges& charges() const { return held_; }
  bool holds() const { return budget_ != nullptr; }

 private:
  friend class Budget;
  Reservation(Budget* budget, const Charges& charges) : budget_(budget), held_(charges) {}

  Budget* budget_ = nullptr;  // null: moved from, holds nothing
  Charges held_;
  bool lingering_ = false;
};

class Budget {
 public:
  Budget() = default;
  Budget(const Budget&) = delete;
  ~Budget();

  // Makes room for `accounts` without later allocation.
  void ReserveAccounts(size_t accounts) { accounts_.reserve(accounts); }
  AccountId AddAccount(Account account);
  // Checks and takes in one step. nullopt: some account lacks the bytes, nothing was taken.
  std::optional<Reservation> TryReserve(const Charges& charges);

  const Account& account(AccountId id) const { return accounts_[Index(id)]; }
  // For capacity, fixed bytes and flags; the sums are the Reservations' alone.
  Account& mutable_account(AccountId id) { return accounts_[Index(id)]; }
  size_t size() const { return accounts_.size(); }

 private:
  friend class Reservation;
  std::vector<Account> accounts_;
  int64_t reservations_ = 0;
};

}  // namespace vramgate

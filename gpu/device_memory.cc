#include "gpu/device_memory.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace vramgate {
namespace {

constexpr size_t kMaxShownIdBytes = 64;

// Domain, bus, device, function.
using PciAddress = std::array<uint32_t, 4>;

// Takes at least one and at most `max_digits` hexadecimal digits off the front of `text`.
std::optional<uint32_t> TakeHex(absl::string_view& text, size_t max_digits) {
  size_t digits = 0;
  while (digits < text.size() && digits < max_digits && absl::ascii_isxdigit(text[digits])) ++digits;
  uint32_t value = 0;
  if (digits == 0 || !absl::SimpleHexAtoi(text.substr(0, digits), &value)) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool TakeChar(absl::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

// "0000:65:00.0" or "00000000:65:00.0"; nullopt for anything else.
std::optional<PciAddress> ParsePci(absl::string_view text) {
  const std::optional<uint32_t> domain = TakeHex(text, 8);
  if (!domain || !TakeChar(text, ':')) return std::nullopt;
  const std::optional<uint32_t> bus = TakeHex(text, 2);
  if (!bus || !TakeChar(text, ':')) return std::nullopt;
  const std::optional<uint32_t> device = TakeHex(text, 2);
  if (!device || !TakeChar(text, '.')) return std::nullopt;
  const std::optional<uint32_t> function = TakeHex(text, 1);
  if (!function || !text.empty()) return std::nullopt;
  return PciAddress{*domain, *bus, *device, *function};
}

// "GPU-" (or "MIG-", as nvidia-smi names a slice: CUDA itself does not tell the two apart), then 8-4-4-4-12 hexadecimal
// digits. Returns the digits and dashes in lower case; nullopt for anything else.
std::optional<std::string> ParseUuid(absl::string_view text) {
  constexpr absl::string_view kForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (!absl::StartsWithIgnoreCase(text, "GPU-") && !absl::StartsWithIgnoreCase(text, "MIG-")) return std::nullopt;
  text.remove_prefix(4);
  if (text.size() != kForm.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    if (kForm[i] == '-' ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return std::nullopt;
  }
  return absl::AsciiStrToLower(text);
}

std::string ListDevices(const DeviceMemory& memory) {
  if (memory.devices().empty()) return std::string(memory.description());
  std::string list = "devices here:";
  for (const DeviceInfo& device : memory.devices()) {
    absl::StrAppend(&list, list.back() == ':' ? " " : "; ", "\"", device.ordinal, "\"");
    if (!device.pci_bus_id.empty()) absl::StrAppend(&list, " or \"", device.pci_bus_id, "\"");
    if (!device.uuid.empty()) absl::StrAppend(&list, " or \"", device.uuid, "\"");
    absl::StrAppendFormat(&list, " (%s, %.2fGiB)", device.name, static_cast<double>(device.total_bytes) / (1 << 30));
  }
  return list;
}

// `id` comes from a config: bounded and escaped before it is shown.
std::string Quoted(absl::string_view id) {
  const bool cut = id.size() > kMaxShownIdBytes;
  return absl::StrCat("\"", absl::CHexEscape(id.substr(0, kMaxShownIdBytes)), cut ? "...\"" : "\"");
}

}  // namespace

absl::StatusOr<size_t> FindDevice(const DeviceMemory& memory, std::string_view id) {
  const absl::string_view text(id.data(), id.size());
  const bool digits = !text.empty() && text.size() <= 9 && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  int ordinal = -1;
  if (digits && !absl::SimpleAtoi(text, &ordinal)) ordinal = -1;
  const std::optional<PciAddress> pci = ParsePci(text);
  const std::optional<std::string> uuid = ParseUuid(text);
  if (ordinal < 0 && !pci && !uuid) {
    return absl::InvalidArgumentError(absl::StrCat(
        "device id ", Quoted(text),
        " is not a CUDA ordinal (\"0\"), a PCI bus id (\"0000:65:00.0\") or a UUID (\"GPU-\" and 36 characters); ",
        ListDevices(memory)));
  }

  const std::vector<DeviceInfo>& devices = memory.devices();
  std::optional<size_t> found;
  for (size_t i = 0; i < devices.size(); ++i) {
    const DeviceInfo& device = devices[i];
    const bool match = device.ordinal == ordinal || (pci && ParsePci(device.pci_bus_id) == pci) ||
                       (uuid && ParseUuid(device.uuid) == uuid);
    if (!match) continue;
    if (found) {
      return absl::InvalidArgumentError(absl::StrCat("device id ", Quoted(text),
                                                     " names more than one device: use the ordinal or the UUID; ",
                                                     ListDevices(memory)));
    }
    found = i;
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no device ", Quoted(text), "; ", ListDevices(memory)));
  return *found;
}

}  // namespace vramgate

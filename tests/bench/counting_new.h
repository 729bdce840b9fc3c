// Counts this program's allocations: operator new is replaced in counting_new.cc.
#pragma once

#include <cstdint>

namespace vramgate {

int64_t Allocations();

}  // namespace vramgate

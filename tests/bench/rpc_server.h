// The server process of bench_rpc: the sidecar itself, whole, with one more service on its caller listener.
#pragma once

#include <string>

namespace vramgate {

// Serves on unix:DIR/gate.sock until stdin is closed; prints a line when ready. Returns the exit code.
int ServeForBench(const std::string& dir);

}  // namespace vramgate

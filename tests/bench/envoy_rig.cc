#include "tests/bench/envoy_rig.h"

#include <time.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "absl/strings/str_replace.h"
#include "admission/check.h"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/beast/core.hpp"
#include "boost/beast/http.hpp"
#include "nlohmann/json.hpp"

namespace vramgate {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::ip::tcp;

const tcp::endpoint kLoopback(boost::asio::ip::address_v4::loopback(), 0);

constexpr const char* kGateConfig = R"(
listeners: {grpc: ["unix:DIR/gate.sock"], operator: "unix:DIR/operator.sock", admin: "127.0.0.1:0"}
devices: [{id: "0", simulated: {total: 80GiB}}]
models:
  - name: llama-3.1-8b
    shape: {parameters: 8030261248, layers: 32, heads: 32, kv_heads: 8, hidden: 4096}
    max_model_len: 8192
    instances: [{name: a, devices: ["0"], kv_pool: 40GiB}]
)";

// What of a listener differs between the three.
constexpr const char* kListener = R"(
  - name: NAME
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    per_connection_buffer_limit_bytes: 16777216
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: NAME
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: engine, timeout: 0s}}]}
          http_filters:
EXT_PROC          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router})";

// The modes of examples/envoy/envoy.yaml.
constexpr const char* kExtProc = R"(          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: NAME}}
              message_timeout: 1s
              max_message_timeout: 300s
              processing_mode: {request_header_mode: SEND, request_body_mode: BUFFERED, response_header_mode: SEND,
                response_body_mode: NONE, request_trailer_mode: SKIP, response_trailer_mode: SEND}
)";

constexpr const char* kSidecar = R"(
  - name: NAME
    type: STATIC
    load_assignment:
      cluster_name: NAME
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: SOCKET}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}})";

constexpr const char* kEngine = R"(
  - name: engine
    type: STATIC
    load_assignment:
      cluster_name: engine
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]}])";

std::string EnvoyConfig(const std::string& dir, const std::string& engine_port) {
  const auto listener = [](const char* name, bool ext_proc) {
    return absl::StrReplaceAll(absl::StrReplaceAll(kListener, {{"EXT_PROC", ext_proc ? kExtProc : ""}}),
                               {{"NAME", name}});
  };
  const auto sidecar = [&](const char* name, const char* socket) {
    return absl::StrReplaceAll(kSidecar, {{"NAME", name}, {"SOCKET", dir + socket}});
  };
  return "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\nstatic_resources:\n  listeners:" +
         listener("alone", false) + listener("noop", true) + listener("vramgate", true) +
         "\n  clusters:" + sidecar("noop", "/noop.sock") + sidecar("vramgate", "/gate.sock") +
         absl::StrReplaceAll(kEngine, {{"PORT", engine_port}}) + "\n";
}

// One chat of about 1 KB.
http::request<http::string_body> Chat() {
  const std::string words(900, 'x');
  http::request<http::string_body> request(http::verb::post, "/v1/chat/completions", 11);
  request.set(http::field::host, "llm");
  request.set(http::field::content_type, "application/json");
  request.body() =
      R"({"model": "llama-3.1-8b", "max_tokens": 128, "messages": [{"role": "user", "content": ")" + words + R"("}]})";
  request.prepare_payload();
  return request;
}

double NowUs() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads of a process so far.
double CpuUs(pid_t pid) {
  clockid_t clock = 0;
  timespec time{};
  CHECK(clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &time) == 0, "a process is gone");
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

std::string Text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// GET of Envoy's admin page as JSON; null while there is none.
nlohmann::json Page(const std::string& address, const std::string& path) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return nullptr;
  boost::asio::io_context io;
  tcp::socket socket(io);
  beast::error_code error;
  socket.connect(tcp::endpoint(kLoopback.address(), static_cast<uint16_t>(std::stoi(address.substr(colon + 1)))),
                 error);
  if (error) return nullptr;
  http::request<http::empty_body> request(http::verb::get, path, 11);
  request.set(http::field::host, "admin");
  http::write(socket, request);
  beast::flat_buffer buffer;
  http::response<http::string_body> response;
  http::read(socket, buffer, response);
  return nlohmann::json::parse(response.body(), nullptr, /*allow_exceptions=*/false);
}

std::string State(const std::string& admin_path) {
  const nlohmann::json info = Page(Text(admin_path), "/server_info");
  return info.is_object() ? info.value("state", "") : "";
}

// One connection's closed loop.
std::vector<double> Loop(int port, int requests) {
  boost::asio::io_context io;
  tcp::socket socket(io);
  socket.connect(tcp::endpoint(kLoopback.address(), static_cast<uint16_t>(port)));
  socket.set_option(tcp::no_delay(true));
  const http::request<http::string_body> request = Chat();
  beast::flat_buffer buffer;
  std::vector<double> latencies_us;
  for (int i = 0; i < requests; ++i) {
    const double start = NowUs();
    http::write(socket, request);
    http::response<http::string_body> response;
    http::read(socket, buffer, response);
    latencies_us.push_back(NowUs() - start);
    CHECK(response.result() == http::status::ok, response.body().c_str());
  }
  return latencies_us;
}

// With its stderr in a file, which never fills up as a pipe does.
std::unique_ptr<Child> Start(const std::string& log, std::vector<std::string> command) {
  std::vector<std::string> words = {"/bin/sh", "-c", "log=$0; exec \"$@\" 2>\"$log\"", log};
  words.insert(words.end(), command.begin(), command.end());
  return std::make_unique<Child>(words);
}

}  // namespace

EnvoyRig::EnvoyRig(const std::string& envoy) {
  const std::string dir = directory_.path().string();
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  engine_ = Start(directory_.At("engine.log"), {self, "--engine"});
  std::ofstream(directory_.At("gate.yaml")) << absl::StrReplaceAll(kGateConfig, {{"DIR", dir}});
  std::ofstream(directory_.At("envoy.yaml")) << EnvoyConfig(dir, engine_->ReadLine());
  noop_ = Start(directory_.At("noop.log"), {self, "--noop", dir});
  CHECK(noop_->ReadLine() == "ready", Text(directory_.At("noop.log")).c_str());
  vramgate_ = Start(directory_.At("gate.log"), {VRAMGATE_PROGRAM, "serve", "--config", directory_.At("gate.yaml")});
  CHECK(vramgate_->ReadLine().starts_with("ready"), Text(directory_.At("gate.log")).c_str());
  envoy_ = Start(directory_.At("envoy.log"),
                 {envoy, "-c", directory_.At("envoy.yaml"), "--admin-address-path", directory_.At("admin"),
                  "--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"});
  const double until = NowUs() + 30e6;
  while (State(directory_.At("admin")) != "LIVE") {
    CHECK(envoy_->Running() && NowUs() < until, Text(directory_.At("envoy.log")).c_str());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const nlohmann::json listeners = Page(Text(directory_.At("admin")), "/listeners?format=json");
  for (const nlohmann::json& listener : listeners.at("listener_statuses")) {
    const std::string name = listener.at("name");
    const Way way = name == "alone" ? Way::kAlone : (name == "noop" ? Way::kNoop : Way::kVramgate);
    ports_[static_cast<size_t>(way)] = listener.at("local_address").at("socket_address").at("port_value");
  }
}

EnvoyRig::~EnvoyRig() = default;

EnvoyRig::Result EnvoyRig::Load(Way way, int connections, int requests) {
  const Child* sidecar = way == Way::kAlone ? nullptr : (way == Way::kNoop ? noop_.get() : vramgate_.get());
  const double envoy_before = CpuUs(envoy_->pid());
  const double sidecar_before = sidecar != nullptr ? CpuUs(sidecar->pid()) : 0;
  Result result;
  std::mutex mutex;
  std::vector<std::thread> threads;
  for (int c = 0; c < connections; ++c) {
    threads.emplace_back([&] {
      const std::vector<double> latencies_us = Loop(ports_[static_cast<size_t>(way)], requests);
      const std::lock_guard lock(mutex);
      result.latencies_us.insert(result.latencies_us.end(), latencies_us.begin(), latencies_us.end());
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double all = static_cast<double>(connections) * requests;
  result.envoy_cpu_us = (CpuUs(envoy_->pid()) - envoy_before) / all;
  if (sidecar != nullptr) result.sidecar_cpu_us = (CpuUs(sidecar->pid()) - sidecar_before) / all;
  return result;
}

}  // namespace vramgate

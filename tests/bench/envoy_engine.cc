// An engine that takes no time.
#include <iostream>
#include <memory>
#include <thread>

#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/beast/core.hpp"
#include "boost/beast/http.hpp"
#include "tests/bench/envoy_rig.h"

namespace vramgate {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::ip::tcp;

void Serve(tcp::socket& socket) {
  socket.set_option(tcp::no_delay(true));
  beast::flat_buffer buffer;
  beast::error_code error;
  http::response<http::string_body> response(http::status::ok, 11);
  response.set(http::field::content_type, "application/json");
  response.body() =
      R"({"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": "hi"}}]})";
  response.prepare_payload();
  while (!error) {
    http::request<http::string_body> request;
    http::read(socket, buffer, request, error);
    if (!error) http::write(socket, response, error);
  }
}

}  // namespace

int ServeEngine() {
  boost::asio::io_context io;
  tcp::acceptor acceptor(io, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
  std::cout << acceptor.local_endpoint().port() << std::endl;
  while (true) {
    auto socket = std::make_shared<tcp::socket>(io);
    acceptor.accept(*socket);
    std::thread([socket] { Serve(*socket); }).detach();
  }
}

}  // namespace vramgate

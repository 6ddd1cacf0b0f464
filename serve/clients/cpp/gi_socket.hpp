// gi_socket.hpp: a WebSocket client of a few lines, over TCP or over a byte stream of yours (TLS). RFC 6455.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#else
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cerrno>
#endif

namespace gi {

struct Transport {  // a byte stream; Receive: bytes read, 0 at the end, -1 after a second without any
  virtual ~Transport() = default;
  virtual bool Connect(const std::string& host, const std::string& port) = 0;
  virtual int Receive(char* data, int size) = 0;
  virtual bool Send(const char* data, size_t size) = 0;
  virtual void Shutdown(bool is_over) = 0;  // no more is sent; is_over: nor received
};

class Tcp : public Transport {
 public:
  ~Tcp() override { if (socket_ != kNone) Close(); }
  bool Connect(const std::string& host, const std::string& port) override {
#ifdef _WIN32
    WSADATA data; WSAStartup(MAKEWORD(2, 2), &data);
    DWORD read = 1000, write = 10000;
#else
    timeval read{1, 0}, write{10, 0};
#endif
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found) != 0) return false;
    for (addrinfo* each = found; each && socket_ == kNone; each = each->ai_next) {
      socket_ = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
      if (socket_ == kNone) continue;
      int one = 1;
      setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<const char*>(&one), sizeof one);
      setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, reinterpret_cast<const char*>(&read), sizeof read);
      setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, reinterpret_cast<const char*>(&write), sizeof write);
      if (connect(socket_, each->ai_addr, static_cast<int>(each->ai_addrlen)) != 0) Close();
    }
    freeaddrinfo(found);
    return socket_ != kNone;
  }
  int Receive(char* data, int size) override {
    const auto count = recv(socket_, data, static_cast<size_t>(size), 0);
#ifdef _WIN32
    return count < 0 ? (WSAGetLastError() == WSAETIMEDOUT ? -1 : 0) : static_cast<int>(count);
#else
    return count < 0 ? (errno == EAGAIN || errno == EINTR ? -1 : 0) : static_cast<int>(count);
#endif
  }
  bool Send(const char* data, size_t size) override {
    while (size > 0) {
#ifdef MSG_NOSIGNAL
      const auto count = send(socket_, data, size, MSG_NOSIGNAL);
#else
      const auto count = send(socket_, data, static_cast<int>(size), 0);
#endif
      if (count <= 0) return false;
      data += count; size -= static_cast<size_t>(count);
    }
    return true;
  }
#ifdef _WIN32
  void Shutdown(bool is_over) override { shutdown(socket_, is_over ? SD_BOTH : SD_SEND); }
 private:
  static constexpr SOCKET kNone = INVALID_SOCKET;
  void Close() { closesocket(socket_); socket_ = kNone; }
  SOCKET socket_ = kNone;
#else
  void Shutdown(bool is_over) override { shutdown(socket_, is_over ? SHUT_RDWR : SHUT_WR); }
 private:
  static constexpr int kNone = -1;
  void Close() { close(socket_); socket_ = kNone; }
  int socket_ = kNone;
#endif
};

class WebSocket {  // one thread receives; any may send
 public:
  enum Kind { kContinuation = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10, kQuiet = -1, kLost = -2 };
  static constexpr size_t kMaxBytes = 1 << 20;  // of what a server sends

  explicit WebSocket(std::unique_ptr<Transport> transport) : transport_(std::move(transport)), masks_(std::random_device{}()) {}

  // Empty, or why there is no WebSocket: "unreachable", or the status line of the server's refusal.
  std::string Open(const std::string& host, const std::string& port, const std::string& request) {
    if (!transport_->Connect(host, port)) return "unreachable";
    if (!transport_->Send(request.data(), request.size())) return "unreachable";
    for (int quiet_s = 0; head_.find("\r\n\r\n") == std::string::npos;) {
      const int count = Fill();
      if (count == 0 || head_.size() > 65536 || (count < 0 && ++quiet_s > 10)) return "no answer";
    }
    const size_t end = head_.find("\r\n\r\n");
    const std::string answer = head_.substr(0, end);
    head_.erase(0, end + 4);
    return answer.find(" 101 ") == std::string::npos || answer.find(kAccept) == std::string::npos ? answer.substr(0, answer.find("\r\n")) : "";
  }

  // The next message; kQuiet after a second of silence. Pings are answered here.
  Kind Receive(std::string& message) {
    for (message.clear();;) {
      size_t head = 2, size = 0;
      if (!Want(head)) return was_quiet_ ? kQuiet : kLost;
      const auto first = static_cast<uint8_t>(head_[0]), second = static_cast<uint8_t>(head_[1]);
      head += second == 126 ? 2 : second == 127 ? 8 : 0;
      if (second & 128 || !Want(head)) return was_quiet_ && !(second & 128) ? kQuiet : kLost;  // a server masks nothing
      if (second < 126) size = second;
      else for (size_t at = 2; at < head; ++at) size = size << 8 | static_cast<uint8_t>(head_[at]);
      if (size > kMaxBytes || partial_.size() + size > kMaxBytes) return kLost;
      if (!Want(head + size)) return was_quiet_ ? kQuiet : kLost;
      const std::string body = head_.substr(head, size);
      head_.erase(0, head + size);
      const Kind kind = static_cast<Kind>(first & 15);
      if (kind == kPing) Send(kPong, body);
      else if (kind == kClose) { message = body; return kClose; }
      else if (kind <= kBinary) {
        if (kind != kContinuation) kind_ = kind;
        partial_ += body;
        if (first & 128) { message.swap(partial_); partial_.clear(); return kind_; }
      }
    }
  }

  bool Send(Kind kind, const std::string& body) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto mask = static_cast<uint32_t>(masks_());
    std::string out(1, static_cast<char>(128 | kind));
    const size_t size = body.size();
    out += static_cast<char>(128 | (size < 126 ? size : size < 65536 ? 126 : 127));
    for (int shift = size < 126 ? -8 : size < 65536 ? 8 : 56; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift & 255);
    const char* bytes = reinterpret_cast<const char*>(&mask);
    out.append(bytes, 4);
    const size_t begin = out.size();
    out += body;
    for (size_t at = 0; at < size; ++at) out[begin + at] = static_cast<char>(out[begin + at] ^ bytes[at & 3]);
    return transport_->Send(out.data(), out.size());
  }

  void Shutdown(bool is_over) { transport_->Shutdown(is_over); }

  // The nonce only shows that the other side is no cache; a fixed one shows it too, and needs no SHA-1 to be checked.
  static constexpr const char* kKey = "dGhlIHNhbXBsZSBub25jZQ==";
  static constexpr const char* kAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

 private:
  int Fill() {
    char data[65536];
    const int count = transport_->Receive(data, sizeof data);
    if (count > 0) head_.append(data, static_cast<size_t>(count));
    return count;
  }
  bool Want(size_t size) {
    while (head_.size() < size) {
      const int count = Fill();
      if (count <= 0) { was_quiet_ = count < 0; return false; }
    }
    return true;
  }
  std::unique_ptr<Transport> transport_;
  std::mt19937 masks_;
  std::mutex mutex_;
  std::string head_, partial_;
  Kind kind_ = kText;
  bool was_quiet_ = false;
};
}  // namespace gi

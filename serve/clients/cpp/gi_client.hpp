// gi_client.hpp: frames in, actions out, for C++17. Headers only, no dependencies; docs/protocol.md is what it speaks.
//
//     gi::Session session("http://127.0.0.1:8000");
//     session.Open();                                                   // throws gi::Error in words for a player
//     each frame: session.Send(pixels, width, height, gi::Pixels::kBgra);
//                 gi::State state;
//                 if (session.Due(state)) Hold(state);                  // neither waits for the network
//
// It has two threads: one reads and resumes, one writes the newest frame. Callbacks come out of Due(), on your thread.
// While no action is fresh Due() says what `on_late` says; while the connection is down, nothing is held.
#pragma once
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gi_resize.hpp"
#include "gi_socket.hpp"

namespace gi {

struct Error : std::runtime_error { using std::runtime_error::runtime_error; };
enum class OnLate { kNeutral, kHold, kStop };
enum MouseButton { kLeft = 1, kRight = 2, kMiddle = 4, kBack = 8, kForward = 16 };

struct State {  // what to hold; motion and wheel belong to one tick: spend them once
  std::vector<std::string> keys;  // W3C codes: "KeyW", "ShiftLeft", ...
  unsigned buttons = 0;           // of MouseButton
  int motion_x = 0, motion_y = 0, wheel_x = 0, wheel_y = 0;  // right, down
  bool has_gamepad = false;
  uint32_t gamepad_buttons = 0;   // bit: index in the W3C Standard Gamepad
  float axes[4] = {}, triggers[2] = {};
  std::vector<float> commands;    // of a body's actuators that no control drives, in its order and units
  bool Has(const std::string& key) const { return std::find(keys.begin(), keys.end(), key) != keys.end(); }
};

struct Action { int64_t seq = 0; double age_ms = 0, server_ms = 0; uint32_t num_dropped = 0; bool is_late = false; std::vector<State> states; };
struct Counts { int64_t sent = 0, answered = 0, dropped = 0, late = 0, lost = 0, resumed = 0; };

struct Options {
  std::string key;     // an API key or a client token
  std::string wishes;  // more of session.update, as JSON members: "\"seed\": 1, \"adapter\": \"mine\""
  OnLate on_late = OnLate::kNeutral;
  double patience_s = 0.5, resume_s = 30;  // resume_s 0: never
  std::function<void(const Action&)> on_action;
  std::function<void(const std::string& kind, const std::string& words)> on_status;  // open down resumed lost stopped closed error
  std::function<std::unique_ptr<Transport>()> transport;  // a byte stream of yours, for TLS above all
};

inline int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Session {
 public:
  explicit Session(const std::string& url, Options options = {}) : options_(std::move(options)) {
    const size_t scheme = url.find("://");
    if (scheme == std::string::npos) throw Error("not a server's address: " + url + " (expected http://HOST:PORT)");
    const bool is_tls = url[scheme - 1] == 's';
    if (is_tls && !options_.transport) throw Error("TLS needs Options::transport");
    const size_t slash = std::min(url.find('/', scheme + 3), url.size());
    address_ = url.substr(scheme + 3, slash - scheme - 3);
    for (path_ = url.substr(slash); !path_.empty() && path_.back() == '/';) path_.pop_back();
    const size_t colon = address_.rfind(':');
    host_ = address_.substr(0, colon);
    port_ = colon == std::string::npos ? (is_tls ? "443" : "80") : address_.substr(colon + 1);
  }
  ~Session() { Close(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Connect and open the stream; waits for it. Throws Error: no server, no free place, another version.
  void Open() {
    const std::string resume = options_.resume_s > 0 ? "true" : "false", more = options_.wishes.empty() ? "" : ", " + options_.wishes;
    const std::string words = Connect("{\"type\": \"session.update\", \"resume\": " + resume + more + "}");
    if (!words.empty()) { is_closed_ = true; throw Error(words); }
    Tell("open", model_ + " plays");
    reader_ = std::thread([this] { Read(); });
    writer_ = std::thread([this] { Write(); });
  }

  // The picture as it is now, of any size; a frame that was not sent yet gives way. Its seq.
  int64_t Send(const uint8_t* pixels, int width, int height, Pixels format = Pixels::kRgb, int64_t capture_ns = NowNs()) {
    const std::vector<uint8_t> rgb = Resize(pixels, width, height, format, width_, height_);
    std::string message("\1\1\1\0\0\0\0\0", 8);
    std::lock_guard<std::mutex> lock(mutex_);
    Put(message, ++seq_); Put(message, capture_ns);
    Put(message, static_cast<uint16_t>(width_)); Put(message, static_cast<uint16_t>(height_));
    message.append(reinterpret_cast<const char*>(rgb.data()), rgb.size());
    frame_ = std::move(message); has_frame_ = true;
    changed_.notify_all();
    return seq_;
  }

  // Whether to hold something else from now on: each tick of an answer once, and what the fail-safe says. Runs callbacks.
  bool Due(State& out) {
    std::vector<std::function<void()>> calls;
    std::string due;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      due = Wanted(out);
      calls.swap(calls_);
    }
    for (const auto& call : calls) call();
    return std::exchange(shown_, due) != due;
  }

  // Tell what was really held in the tick of frame `seq` (an input state in JSON), before the next frame.
  void Execute(const std::string& action, int64_t seq) {
    Say("{\"type\": \"action.executed\", \"seq\": " + std::to_string(seq) + ", \"action\": " + action + "}");
  }
  void Reset(int64_t seed) {  // forget all frames and start anew
    std::lock_guard<std::mutex> lock(mutex_);
    held_.states.clear(); frame_.clear(); has_frame_ = false; first_seq_ = seq_ + 1;
    resetting_ = "{\"type\": \"session.reset\", \"seed\": " + std::to_string(seed) + "}";
    outbox_.push_back(resetting_);
    changed_.notify_all();
  }
  void Close() {  // end the session: its place is free at once
    End("closed", "the play is over");
    if (writer_.joinable()) writer_.join();
    if (reader_.joinable()) reader_.join();
  }

  Counts counts() { std::lock_guard<std::mutex> lock(mutex_); return counts_; }
  bool IsOver() const { return is_closed_ || is_stopped_; }
  int width() const { return width_; }
  int height() const { return height_; }
  double fps() const { return fps_; }

 private:
  std::string Wanted(State& out) {  // under the lock
    out = State();
    if (is_down_ || is_stopped_ || is_closed_) return "released";
    const double age_s = static_cast<double>(NowNs() - since_ns_) / 1e9;
    if (age_s > options_.patience_s) {
      if (options_.on_late == OnLate::kStop && !is_stopped_.exchange(true)) Queue("stopped", "no action came for too long: every key is up");
      if (options_.on_late != OnLate::kHold || held_.states.empty()) return "released";
      out = held_.states.back();
      out.motion_x = out.motion_y = out.wheel_x = out.wheel_y = 0;
      return "late " + std::to_string(held_.seq);
    }
    if (held_.states.empty()) return "released";
    const auto last = static_cast<int64_t>(held_.states.size()) - 1;
    const auto tick = last ? std::clamp<int64_t>(static_cast<int64_t>(static_cast<double>(NowNs() - capture_ns_) * fps_ / 1e9), 0, last) : 0;
    out = held_.states[static_cast<size_t>(tick)];
    return std::to_string(held_.seq) + " " + std::to_string(tick);
  }

  // -------------------------------------------------------------- messages

  template <class T> static void Put(std::string& to, T value) { to.append(reinterpret_cast<const char*>(&value), sizeof value); }
  template <class T> static T Get(const std::string& from, size_t at) { T value; std::memcpy(&value, from.data() + at, sizeof value); return value; }

  // Member `name` of the JSON object `json`: the content of a string, the text of anything else; empty: there is none.
  static std::string Member(const std::string& json, const std::string& name) {
    int depth = 0;
    size_t value = std::string::npos;
    for (size_t at = 0; at < json.size(); ++at) {
      const char c = json[at];
      if (value != std::string::npos && depth == 1 && (c == ',' || c == '}')) return json.substr(value, at - value);
      depth += (c == '{' || c == '[') - (c == '}' || c == ']');
      if (c != '"') continue;
      const size_t begin = at + 1;
      for (++at; at < json.size() && json[at] != '"'; ++at) at += json[at] == '\\';
      if (value == begin - 1) return json.substr(begin, at - begin);
      const size_t colon = json.find_first_not_of(" \n", at + 1);
      const bool is_name = depth == 1 && colon != std::string::npos && json[colon] == ':' && json.compare(begin, at - begin, name) == 0;
      if (is_name && value == std::string::npos) value = json.find_first_not_of(" \n", (at = colon) + 1);
    }
    return "";
  }

  void Queue(const std::string& kind, const std::string& words) {
    if (options_.on_status) calls_.emplace_back([this, kind, words] { options_.on_status(kind, words); });
  }
  void Tell(const std::string& kind, const std::string& words) { std::lock_guard<std::mutex> lock(mutex_); Queue(kind, words); }
  void Say(const std::string& event) { std::lock_guard<std::mutex> lock(mutex_); outbox_.push_back(event); changed_.notify_all(); }

  static State ReadState(const std::string& data, size_t at) {
    State state;
    for (size_t i = 0; i < 8 && i < static_cast<uint8_t>(data[at + 2]); ++i) state.keys.push_back(KeyName(static_cast<uint8_t>(data[at + 4 + i])));
    state.buttons = static_cast<uint8_t>(data[at + 1]);
    state.motion_x = Get<int16_t>(data, at + 12); state.motion_y = Get<int16_t>(data, at + 14);
    state.wheel_x = Get<int16_t>(data, at + 16); state.wheel_y = Get<int16_t>(data, at + 18);
    state.has_gamepad = data[at] & 1;
    state.gamepad_buttons = Get<uint32_t>(data, at + 20);
    std::memcpy(state.axes, data.data() + at + 24, sizeof state.axes);
    std::memcpy(state.triggers, data.data() + at + 40, sizeof state.triggers);
    return state;
  }

  static bool ReadCommands(const std::string& data, std::vector<State>& states) {  // behind states, tokens, probabilities
    const size_t per_tick = 48 + 2u * Get<uint16_t>(data, 32) + 4u * static_cast<uint8_t>(data[35]);
    const size_t at = 36 + states.size() * per_tick, count = at < data.size() ? static_cast<uint8_t>(data[at]) : 0;
    if (data.size() < at + 1 + 4 * states.size() * count) return false;
    for (size_t i = 0; i < states.size() * count; ++i) states[i / count].commands.push_back(Get<float>(data, at + 1 + 4 * i));
    return true;
  }

  static std::string KeyName(int id) {
    static const char* const kOthers[] = {"ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Space", "Enter", "Tab", "Escape", "Backspace",
        "CapsLock", "ShiftLeft", "ShiftRight", "ControlLeft", "ControlRight", "AltLeft", "AltRight", "MetaLeft", "MetaRight", "Backquote",
        "Minus", "Equal", "BracketLeft", "BracketRight", "Backslash", "Semicolon", "Quote", "Comma", "Period", "Slash", "IntlBackslash",
        "IntlRo", "IntlYen", "ContextMenu", "Insert", "Delete", "Home", "End", "PageUp", "PageDown", "PrintScreen", "ScrollLock", "Pause",
        "NumLock", "NumpadDivide", "NumpadMultiply", "NumpadSubtract", "NumpadAdd", "NumpadEnter", "NumpadDecimal"};
    if (id <= 26) return std::string("Key") + static_cast<char>('A' + id - 1);
    if (id <= 36) return "Digit" + std::to_string(id - 27);
    if (id <= 48) return "F" + std::to_string(id - 36);
    if (id <= 97) return kOthers[id - 49];
    return "Numpad" + std::to_string(id - 98);
  }

  std::string Answer(const std::string& data) {  // empty, or why it is none
    if (data.size() < 36 || data[0] != 2 || data[1] != 1) return kOtherVersion;
    const auto num_states = static_cast<size_t>(static_cast<uint8_t>(data[34]));
    if (num_states == 0 || data.size() < 36 + 48 * num_states) return "the server sent a cut action";
    Action action;
    action.seq = Get<int64_t>(data, 8);
    const int64_t captured_ns = Get<int64_t>(data, 16), now_ns = NowNs();
    action.age_ms = static_cast<double>(now_ns - captured_ns) / 1e6;
    action.server_ms = Get<uint32_t>(data, 24) / 1000.0;
    action.num_dropped = Get<uint32_t>(data, 28);
    action.is_late = data[3] & 1;
    for (size_t i = 0; i < num_states; ++i) action.states.push_back(ReadState(data, 36 + 48 * i));
    if ((data[3] & 4) && !ReadCommands(data, action.states)) return "the server sent a cut action";
    std::lock_guard<std::mutex> lock(mutex_);
    if (action.seq >= first_seq_) {  // not of before the reset
      counts_.dropped += action.seq - std::max(newest_seq_, first_seq_ - 1) - 1;  // whoever dropped them
      held_ = action; since_ns_ = now_ns; capture_ns_ = captured_ns;
      ++counts_.answered; counts_.late += action.is_late;
    }
    newest_seq_ = std::max(newest_seq_, action.seq);
    if (options_.on_action) calls_.emplace_back([this, action] { options_.on_action(action); });
    return "";
  }

  // -------------------------------------------------------------- the connection

  std::string Connect(const std::string& opening) {  // empty, or why not
    auto socket = std::make_shared<WebSocket>(options_.transport ? options_.transport() : std::make_unique<Tcp>());
    const std::string who = options_.key.empty() ? "" : "Authorization: Bearer " + options_.key + "\r\n";
    const std::string refusal = socket->Open(host_, port_, "GET " + path_ + "/v1/realtime HTTP/1.1\r\nHost: " + address_ +
        "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + WebSocket::kKey +
        "\r\nSec-WebSocket-Protocol: gi.v1.bin\r\n" + who + "\r\n");
    is_refused_ = refusal.compare(0, 10, "HTTP/1.1 4") == 0 && refusal.compare(9, 3, "429") != 0;
    if (refusal == "unreachable") return "cannot reach the server " + address_ + ": is it running? (gi serve CHECKPOINT)";
    if (is_refused_ && refusal.compare(9, 3, "422") == 0) return kOtherVersion;
    if (!refusal.empty()) return "the server " + address_ + " refused the stream: " + refusal;
    socket->Send(WebSocket::kText, opening);
    std::string event;
    for (int quiet_s = 0; quiet_s < 10 && !is_closed_;) {
      const auto kind = socket->Receive(event);
      if (kind == WebSocket::kQuiet) { ++quiet_s; continue; }
      if (kind != WebSocket::kText) break;
      if (Member(event, "type") == "error") { is_refused_ = true; return Words(event); }
      Opened(event, socket);
      return std::min(width_, height_) < 1 || std::max(width_, height_) > 8192 ? kOtherVersion : "";
    }
    return "the server does not answer";
  }

  void Opened(const std::string& event, const std::shared_ptr<WebSocket>& socket) {
    const std::string model = Member(event, "model"), resume = Member(event, "resume"), last_seq = Member(event, "last_seq");
    const std::string shape = Member(Member(model, "observation_space"), "shape");
    std::lock_guard<std::mutex> lock(mutex_);
    if (model_.empty()) {  // once: your thread reads them without the lock
      model_ = Member(model, "name");
      fps_ = std::atof(Member(model, "fps").c_str());
      std::sscanf(shape.c_str(), "[%d , %d", &height_, &width_);
    }
    id_ = Member(Member(event, "session"), "id");
    if (!resume.empty()) { token_ = Member(resume, "token"); kept_s_ = std::atof(Member(resume, "timeout_s").c_str()); }
    if (!last_seq.empty()) {
      ++counts_.resumed;
      if (!resetting_.empty()) outbox_.insert(outbox_.begin(), resetting_);  // the lost connection may have swallowed it
      else has_frame_ = !frame_.empty() && seq_ > std::atoll(last_seq.c_str());
    }
    since_ns_ = NowNs();
    socket_ = socket;
    is_down_ = false;
    changed_.notify_all();
  }

  static std::string Words(const std::string& event) {
    const std::string problem = Member(event, "error");
    return "the server answered: " + Member(problem, "title") + ". " + Member(problem, "detail");
  }

  void Hear(const std::string& event) {
    const std::string type = Member(event, "type");
    if (type == "error" && Member(Member(event, "error"), "type") != "urn:gi:problem:feedback-late") Tell("error", Words(event));
    if (type == "session.updated") { std::lock_guard<std::mutex> lock(mutex_); resetting_.clear(); }
    if (type == "session.closed") goodbye_ = "the server ended the session (" + Member(event, "reason") + ")";
    if (type == "session.going_away") Tell("going away", "the server ends in " + Member(event, "grace_s") + " s");
  }

  void Read() {
    std::string message;
    for (int quiet_s = 0;;) {
      const auto kind = socket_->Receive(message);
      const bool is_lost = kind == WebSocket::kLost || kind == WebSocket::kClose;
      quiet_s = kind == WebSocket::kQuiet ? quiet_s + 1 : 0;  // the server pings every five seconds
      const std::string wrong = kind == WebSocket::kBinary ? Answer(message) : "";
      if (kind == WebSocket::kText) Hear(message);
      if (!wrong.empty()) End("lost", wrong);
      if (is_closed_ && (is_lost || quiet_s > 0)) return;
      if ((is_lost || quiet_s > 12) && !Resume()) return;
    }
  }

  bool Resume() {
    std::string words = goodbye_.empty() ? "the connection to the server is lost" : goodbye_;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_down_ = true; held_.states.clear(); has_frame_ = false; ++counts_.lost;
      socket_->Shutdown(true);
      if (goodbye_.empty() && !token_.empty()) Queue("down", words + ": every key is up; trying again");
    }
    const int64_t give_up_ns = NowNs() + static_cast<int64_t>(std::min(options_.resume_s, kept_s_) * 1e9);
    for (double delay_s = 0.05; goodbye_.empty() && !is_closed_ && NowNs() < give_up_ns; delay_s = std::min(2.0, 2 * delay_s)) {
      words = Connect("{\"type\": \"session.resume\", \"session_id\": \"" + id_ + "\", \"token\": \"" + token_ +
                      "\", \"answered_seq\": " + std::to_string(newest_seq_) + "}");
      if (words.empty()) { Tell("resumed", "connected again"); return true; }
      if (is_refused_) break;
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait_for(lock, std::chrono::duration<double>(delay_s), [this] { return is_closed_.load(); });
    }
    End("lost", words + "; the session is gone: start a new one");
    return false;
  }

  void Write() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!is_closed_) {
      changed_.wait(lock, [this] { return is_closed_ || (!is_down_ && (has_frame_ || !outbox_.empty())); });
      const auto socket = socket_;
      const std::vector<std::string> events = std::exchange(outbox_, {});
      const std::string frame = std::exchange(has_frame_, false) && !is_closed_ ? frame_ : "";
      counts_.sent += !frame.empty();
      lock.unlock();
      for (const std::string& event : events) socket->Send(WebSocket::kText, event);
      if (!frame.empty()) socket->Send(WebSocket::kBinary, frame);
      lock.lock();
    }
    const auto socket = socket_;
    lock.unlock();
    socket->Send(WebSocket::kText, "{\"type\": \"session.close\"}");
    socket->Send(WebSocket::kClose, "\x03\xe8");  // 1000: not lost, over
    socket->Shutdown(false);
  }

  void End(const std::string& kind, const std::string& words) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!is_closed_.exchange(true)) Queue(kind, words);
    held_.states.clear();
    changed_.notify_all();
  }

  static constexpr const char* kOtherVersion = "the server speaks another version of the protocol: update the older side";
  const Options options_;
  std::string address_, host_, port_, path_;
  std::thread reader_, writer_;
  std::atomic<bool> is_closed_{false}, is_stopped_{false};
  bool is_refused_ = false;               // of the reader, as goodbye_, id_, token_
  std::string goodbye_, id_, token_, shown_;
  double kept_s_ = 0;
  std::mutex mutex_;                      // of everything below
  std::condition_variable changed_;
  std::shared_ptr<WebSocket> socket_;
  std::string model_, frame_, resetting_;  // frame_: the newest; has_frame_: it waits to be sent
  int width_ = 0, height_ = 0;
  double fps_ = 1;
  bool is_down_ = true, has_frame_ = false;
  int64_t seq_ = -1, first_seq_ = 0, newest_seq_ = -1, since_ns_ = 0, capture_ns_ = 0;
  Action held_;
  Counts counts_;
  std::vector<std::string> outbox_;
  std::vector<std::function<void()>> calls_;
};
}  // namespace gi

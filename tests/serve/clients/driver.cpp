// What the tests run: driver URL NUM_FRAMES PERIOD_MS ON_LATE PATIENCE_S RESUME_S RESET_AT; a line for all that happens.
#include <cstdio>
#include <cstdlib>

#include "gi_client.hpp"


static int Resize(char** argv) {  // resize WIDTH HEIGHT TO_WIDTH TO_HEIGHT: RGB on stdin, RGB on stdout
  const int width = std::atoi(argv[2]), height = std::atoi(argv[3]);
  std::vector<uint8_t> pixels(static_cast<size_t>(width * height * 3));
  if (std::fread(pixels.data(), 1, pixels.size(), stdin) != pixels.size()) return 1;
  const auto out = gi::Resize(pixels.data(), width, height, gi::Pixels::kRgb, std::atoi(argv[4]), std::atoi(argv[5]));
  return std::fwrite(out.data(), 1, out.size(), stdout) == out.size() ? 0 : 1;
}

static void Hold(gi::Session& session) {
  gi::State state;
  if (!session.Due(state)) return;
  std::string keys;
  for (const std::string& key : state.keys) keys += " " + key;
  std::printf("hold%s %d %d\n", keys.c_str(), state.motion_x, state.motion_y);
  std::fflush(stdout);
}

int main(int, char** argv) {
  if (std::string(argv[1]) == "resize") return Resize(argv);
  gi::Options options;
  const std::string late = argv[4];
  options.wishes = "\"seed\": 1";
  options.on_late = late == "hold" ? gi::OnLate::kHold : late == "stop" ? gi::OnLate::kStop : gi::OnLate::kNeutral;
  options.patience_s = std::atof(argv[5]);
  options.resume_s = std::atof(argv[6]);
  options.on_status = [](const std::string& kind, const std::string& words) { std::printf("status %s: %s\n", kind.c_str(), words.c_str()); std::fflush(stdout); };
  gi::Session* playing = nullptr;
  options.on_action = [&playing](const gi::Action& action) {
    const gi::State& state = action.states[0];
    std::printf("action %lld %d %d %d %d %d %u %u", static_cast<long long>(action.seq), state.motion_x, state.motion_y, state.wheel_x,
                action.is_late, state.wheel_y, state.buttons, state.gamepad_buttons);
    for (const float axis : state.axes) std::printf(" %g", static_cast<double>(axis));
    for (const float trigger : state.triggers) std::printf(" %g", static_cast<double>(trigger));
    for (const std::string& key : state.keys) std::printf(" %s", key.c_str());
    for (const float command : state.commands) std::printf(" =%g", static_cast<double>(command));
    std::puts("");
    if (action.seq % 5 == 0) playing->Execute("{\"keys\": [\"KeyE\"]}", action.seq);  // a person held that
  };
  gi::Session session(argv[1], options);
  playing = &session;
  try {
    session.Open();
  } catch (const gi::Error& error) {
    std::printf("error %s\n", error.what());
    return 3;
  }
  const int width = session.width() * 2, height = session.height() * 2;
  std::vector<uint8_t> pixels(static_cast<size_t>(width * height * 4), 100);
  for (int number = 0; number < std::atoi(argv[2]) && !session.IsOver(); ++number) {
    if (number == std::atoi(argv[7])) session.Reset(2);
    for (size_t at = 0; at < pixels.size(); at += 4) {  // BGRA
      pixels[at + 1] = static_cast<uint8_t>(number % 32 * 8);
      pixels[at + 2] = static_cast<uint8_t>(number / 32 % 31 * 8);
    }
    session.Send(pixels.data(), width, height, gi::Pixels::kBgra);
    for (int wait_ms = 0; wait_ms < std::atoi(argv[3]); wait_ms += 2) {
      Hold(session);
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  session.Close();
  Hold(session);
  const gi::Counts counts = session.counts();
  std::printf("counts %lld %lld %lld %lld %lld %lld\n", static_cast<long long>(counts.sent), static_cast<long long>(counts.answered), static_cast<long long>(counts.dropped),
              static_cast<long long>(counts.late), static_cast<long long>(counts.lost), static_cast<long long>(counts.resumed));
  return 0;
}

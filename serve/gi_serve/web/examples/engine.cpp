#include <cstdio>

#include "gi_client.hpp"

struct Game {  // yours
  virtual ~Game() = default;
  virtual bool Draw(const uint8_t** bgra, int* width, int* height) = 0;  // false: the game is over
  virtual void Hold(const gi::State& state) = 0;                         // press and release what changed, spend the motion
};

void PlayGame(Game& game) {
  gi::Options options;
  options.wishes = "\"seed\": 1";
  options.on_status = [](const std::string& kind, const std::string& words) { std::fprintf(stderr, "%s: %s\n", kind.c_str(), words.c_str()); };
  gi::Session session("http://127.0.0.1:8000", options);
  session.Open();
  const uint8_t* bgra;
  int width, height;
  gi::State state;
  while (!session.IsOver() && game.Draw(&bgra, &width, &height)) {
    session.Send(bgra, width, height, gi::Pixels::kBgra);
    if (session.Due(state)) game.Hold(state);
  }
  session.Close();
  game.Hold(gi::State());  // nothing is held any more
}

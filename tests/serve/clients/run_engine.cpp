// Plays examples/engine.cpp with painted frames; a line for all that is held.
#include "engine.cpp"

struct Painted : Game {
  int number = 0;
  std::vector<uint8_t> pixels = std::vector<uint8_t>(24 * 16 * 4, 100);
  bool Draw(const uint8_t** bgra, int* width, int* height) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (size_t at = 0; at < pixels.size(); at += 4) {
      pixels[at + 1] = static_cast<uint8_t>(number % 32 * 8);
      pixels[at + 2] = static_cast<uint8_t>(number / 32 * 8);
    }
    *bgra = pixels.data(); *width = 24; *height = 16;
    return ++number < 30;
  }
  void Hold(const gi::State& state) override {
    std::string keys;
    for (const std::string& key : state.keys) keys += " " + key;
    std::printf("press%s\n", keys.c_str());
  }
};

int main() {
  Painted game;
  PlayGame(game);
}

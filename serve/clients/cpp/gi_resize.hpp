// gi_resize.hpp: pixels of any size to RGB of the model's, by the one resize of gi_model.frames, bit for bit.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace gi {

enum class Pixels { kRgb, kRgba, kBgra };

// The exact area average of gi_model.frames.resize, bit for bit: pixels of any size to RGB of the model's.
inline std::vector<uint8_t> Resize(const uint8_t* pixels, int width, int height, Pixels format, int to_width, int to_height) {
  struct Part { int input; int64_t weight; };
  auto bands = [](int from, int to, int64_t& step) {
    const int divisor = std::gcd(from, to);
    const int64_t unit = to / divisor;
    step = from / divisor;
    std::vector<std::vector<Part>> all(static_cast<size_t>(to));
    for (int i = 0; i < to; ++i)
      for (int64_t begin = i * step, j = begin / unit; j * unit < begin + step; ++j)
        all[static_cast<size_t>(i)].push_back({static_cast<int>(j), std::min(begin + step, (j + 1) * unit) - std::max(begin, j * unit)});
    return all;
  };
  int64_t step_y = 0, step_x = 0;
  const auto down = bands(height, to_height, step_y), across = bands(width, to_width, step_x);
  const int stride = format == Pixels::kRgb ? 3 : 4;
  std::vector<uint8_t> out;
  out.reserve(static_cast<size_t>(to_width) * static_cast<size_t>(to_height) * 3);
  std::vector<int64_t> sums(static_cast<size_t>(width * stride));
  for (const auto& rows : down) {
    std::fill(sums.begin(), sums.end(), 0);
    for (const Part& row : rows) {
      const uint8_t* from = pixels + static_cast<ptrdiff_t>(row.input) * width * stride;
      for (int64_t& sum : sums) sum += row.weight * *from++;
    }
    for (const auto& columns : across)
      for (int colour = 0; colour < 3; ++colour) {
        int64_t sum = step_x * step_y / 2;
        for (const Part& column : columns)
          sum += column.weight * sums[static_cast<size_t>(column.input * stride + (format == Pixels::kBgra ? 2 - colour : colour))];
        out.push_back(static_cast<uint8_t>(sum / (step_x * step_y)));
      }
  }
  return out;
}
}  // namespace gi

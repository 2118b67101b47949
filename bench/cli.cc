// SPDX-License-Identifier: MIT
#include "cli.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <system_error>

namespace bench {

std::int64_t whole_number(std::string_view what, std::string_view text, std::int64_t low, std::int64_t high) {
  std::int64_t n = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, n);
  const bool too_big = error == std::errc::result_out_of_range;  // of int64_t: spelt right all the same
  if (text.empty() || stop != end || (error != std::errc{} && !too_big)) {
    throw usage_error(fmt::format("{}: '{}' is not a whole number", what, text));
  }
  if (too_big || n < low || n > high) {
    throw usage_error(fmt::format("{}: {} is not in the range {} to {}", what, text, low, high));
  }
  return n;
}

std::vector<std::int64_t> whole_numbers(std::string_view what, std::string_view text, std::int64_t low,
                                        std::int64_t high) {
  std::vector<std::int64_t> numbers;
  for (;;) {
    const auto comma = text.find(',');
    numbers.push_back(whole_number(what, text.substr(0, comma), low, high));
    if (comma == std::string_view::npos) return numbers;
    text.remove_prefix(comma + 1);
  }
}

void complain(std::string_view program, std::string_view message) {
  std::string line = fmt::format("{}: {}", program, message);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  }
  line += '\n';
  std::fputs(line.c_str(), stderr);
}

}  // namespace bench

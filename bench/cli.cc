// SPDX-License-Identifier: MIT
#include "cli.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
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

void add_number(CLI::App& app, const std::string& name, std::int64_t& value, std::int64_t low, std::int64_t high,
                const std::string& what) {
  app.add_option_function<std::string>(
         name, [&value, name, low, high](const std::string& text) { value = whole_number(name, text, low, high); },
         fmt::format("{} (default {})", what, value))
      ->type_name("N");
}

void add_text(CLI::App& app, const std::string& name, std::optional<std::string>& value, const std::string& type,
              const std::string& what) {
  app.add_option_function<std::string>(
         name, [&value](const std::string& text) { value = text; }, what)
      ->type_name(type);
}

void add_procs(CLI::App& app, std::vector<int>& procs, const std::string& what) {
  app.add_option_function<std::vector<std::string>>(
         "-p",
         [&procs](const std::vector<std::string>& lists) {
           for (const std::string& list : lists) {
             for (const std::int64_t p : whole_numbers("-p", list, 1, max_procs)) procs.push_back(static_cast<int>(p));
           }
         },
         what)
      ->type_name("N[,N...]")
      ->allow_extra_args(false);
}

void drop_repeated(std::vector<int>& numbers) {
  auto kept = numbers.begin();
  for (const int n : numbers) {
    if (std::find(numbers.begin(), kept, n) == kept) *kept++ = n;
  }
  numbers.erase(kept, numbers.end());
}

bool parse(CLI::App& app, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help);
    return false;
  } catch (const CLI::ParseError& e) {
    throw usage_error(e.what());
  }
  return true;
}

void check_writable(const std::optional<std::string>& json) {
  if (json && (json->empty() || !std::ofstream(*json, std::ios::app))) {
    throw usage_error(fmt::format("--json: cannot write to '{}'", *json));
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

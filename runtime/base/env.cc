// SPDX-License-Identifier: MIT
#include "env.h"

#include <charconv>
#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "../os/thread.h"

namespace weft {
namespace {

struct setting {
  const char* option;        // as the user writes it; null: the environment only
  const char* variables[2];  // the first that is set decides; null: none
  std::uint64_t least, most;
  bool is_size;       // takes K and M
  const char* range;  // for the error
};

constexpr setting procs_setting = {"procs", {"WEFT_PROCS", "GOMAXPROCS"}, 1, max_procs,
                                   false,   "a number from 1 to 1024"};
constexpr setting stack_setting = {
    "stack_size",   {"WEFT_STACK_SIZE", nullptr},
    min_stack_size, max_stack_size,
    true,           "a number of bytes from 16K to 1024M, K and M being 1024 and 1024*1024"};
constexpr setting pack_setting = {
    "pack_after", {"WEFT_PACK_AFTER", nullptr}, 1, 3'600'000, false, "a number of milliseconds from 1 to 3600000"};
constexpr setting chaos_setting = {nullptr, {"WEFT_CHAOS", nullptr},
                                   0,       std::numeric_limits<std::uint64_t>::max(),
                                   false,   "a seed from 0 (off) to 18446744073709551615"};

// The texts above repeat the limits; this keeps them honest.
static_assert((max_procs == 1024 || limits::simulated) && min_stack_size == 16 << 10 &&
              max_stack_size == std::size_t{1024} << 20);

[[noreturn]] void refuse(const setting& s, std::string_view source, std::string_view value) {
  std::string text = "weft: ";
  text.append(source).append("=").append(value).append(": expected ").append(s.range);
  throw std::invalid_argument(text);
}

bool parse(const setting& s, std::string_view text, std::uint64_t& value) {
  std::uint64_t unit = 1;
  std::string_view digits = text;
  if (s.is_size && !digits.empty()) {
    if (digits.back() == 'K') unit = std::uint64_t{1} << 10;
    if (digits.back() == 'M') unit = std::uint64_t{1} << 20;
    if (unit != 1) digits.remove_suffix(1);
  }
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || stop != end || value > std::numeric_limits<std::uint64_t>::max() / unit) return false;
  value *= unit;
  return value >= s.least && value <= s.most;
}

bool from_environment(const setting& s, std::uint64_t& value) {
  for (const char* const name : s.variables) {
    if (name == nullptr) break;
    const char* const text = std::getenv(name);
    if (text == nullptr || *text == '\0') continue;
    if (!parse(s, text, value)) refuse(s, name, text);
    return true;
  }
  return false;
}

// Option, else environment; false: neither is set.
bool resolve(const setting& s, std::int64_t option, std::uint64_t& value) {
  if (option == 0) return from_environment(s, value);
  value = static_cast<std::uint64_t>(option);
  if (option < 0 || value < s.least || value > s.most)
    refuse(s, std::string("option ") + s.option, std::to_string(option));
  return true;
}

// Beyond int64_t is as far out of range as INT64_MAX, and reads better than a negative number.
std::int64_t clamped(std::size_t n) {
  constexpr auto most = std::numeric_limits<std::int64_t>::max();
  return n > static_cast<std::size_t>(most) ? most : static_cast<std::int64_t>(n);
}

}  // namespace

settings resolve_settings(int procs_option, std::size_t stack_option, std::int64_t pack_after_ms_option) {
  settings result{};
  std::uint64_t value = 0;
  if (resolve(procs_setting, procs_option, value)) {
    result.procs = static_cast<int>(value);
  } else {
    const int cpus = os::num_cpus();
    result.procs = cpus < max_procs ? cpus : max_procs;
  }
  result.stack_size = resolve(stack_setting, clamped(stack_option), value) ? value : default_stack_size;
  result.pack_after_ms = resolve(pack_setting, pack_after_ms_option, value) ? static_cast<std::int64_t>(value) : 0;
  result.chaos_seed = from_environment(chaos_setting, value) ? value : 0;
  return result;
}

std::size_t resolve_stack_size(std::size_t option, std::size_t otherwise) {
  if (option == 0) return otherwise;
  std::uint64_t value = 0;
  resolve(stack_setting, clamped(option), value);
  return value;
}

}  // namespace weft

// SPDX-License-Identifier: MIT
#pragma once

// What every benchmark program does with its command line.
//
// A wrong argument ends in exactly one line on stderr, "<program>: <what is wrong>", and exit status 2; a run that
// fails (a wrong sum, a thread that cannot be made) in one such line and exit status 1. So a script can tell "asked
// wrongly" from "went wrong", and neither can be mistaken for a figure.
//
// Numbers are read strictly, in decimal: CLI11's own conversion would take 010 for 8 and drop an empty element of a
// list.

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

/// A wrong argument: exit status 2.
struct usage_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The most Ps that may be asked for; weft itself may allow fewer and says so.
inline constexpr int max_procs = 1024;

/// The number that `text` spells, within low..high; throws usage_error, naming `what`, otherwise.
std::int64_t whole_number(std::string_view what, std::string_view text, std::int64_t low, std::int64_t high);

/// The same for "1,2,16"; no element may be missing.
std::vector<std::int64_t> whole_numbers(std::string_view what, std::string_view text, std::int64_t low,
                                        std::int64_t high);

/// Prints "<program>: <message>" on stderr as one line, whatever the message holds.
void complain(std::string_view program, std::string_view message);

/// Calls main_body and turns what it throws into a line on stderr and an exit status.
template <class Body>
int exit_status(std::string_view program, Body main_body) {
  try {
    return main_body();
  } catch (const usage_error& e) {
    complain(program, e.what());
    return 2;
  } catch (const std::exception& e) {
    complain(program, e.what());
    return 1;
  }
}

}  // namespace bench

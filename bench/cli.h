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
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

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

/// An option for a whole number; `value` is the default, and `what` is followed by it in the help.
void add_number(CLI::App& app, const std::string& name, std::int64_t& value, std::int64_t low, std::int64_t high,
                const std::string& what);

/// An option for a word, called `type` in the help.
void add_text(CLI::App& app, const std::string& name, std::optional<std::string>& value, const std::string& type,
              const std::string& what);

/// -p: Ps, as a list or by repeating it, in the order given.
void add_procs(CLI::App& app, std::vector<int>& procs, const std::string& what);

/// Leaves each number where it stands first.
void drop_repeated(std::vector<int>& numbers);

/// Reads the command line. False: help was asked for, and has been printed.
bool parse(CLI::App& app, int argc, char** argv);

/// Throws usage_error if --json names a file that cannot be written: to be called before minutes of measuring, not after. Opened to
/// append: what an earlier run left stays until there is something to replace it.
void check_writable(const std::optional<std::string>& json);

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

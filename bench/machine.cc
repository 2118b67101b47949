// SPDX-License-Identifier: MIT
#include "machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <fstream>
#include <string_view>

#include <weft/weft.h>

#include "revision.h"

namespace bench {
namespace {

// "model name : ..." is x86's; elsewhere the kernel gives numbers only, and those are given as they are.
std::string cpu_model() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string implementer, part;
  for (std::string line; std::getline(cpuinfo, line);) {
    const auto colon = line.find(": ");
    if (colon == std::string::npos) continue;
    std::string value = line.substr(colon + 2);
    if (line.starts_with("model name")) return value;
    if (line.starts_with("CPU implementer")) implementer = value;
    if (line.starts_with("CPU part")) part = value;
  }
  return part.empty() ? "unknown" : fmt::format("implementer {} part {}", implementer, part);
}

constexpr std::string_view compiler_name =
#if defined(__clang__)
    "clang " __clang_version__;
#else
    "gcc " __VERSION__;
#endif

}  // namespace

std::string why_not_to_quote() {
  std::string why;
  [[maybe_unused]] const auto add = [&why](std::string_view reason) {
    if (!why.empty()) why += ", ";
    why += reason;
  };
#if !defined(__OPTIMIZE__)
  add("not optimised");
#endif
#if defined(WEFT_CHECKS)
  add("checks on");
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
  add("address sanitizer");
#endif
#if __has_feature(thread_sanitizer)
  add("thread sanitizer");
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
  add("address sanitizer");
#endif
#if defined(__SANITIZE_THREAD__)
  add("thread sanitizer");
#endif
  return why;
}

machine this_machine() {
  machine m{.cpu = cpu_model(),
            .cpus = static_cast<int>(weft::num_cpus()),
            .kernel = "unknown",
            .compiler = std::string(compiler_name),
            .arch = "unknown"};
  if (utsname u{}; uname(&u) == 0) {
    m.kernel = fmt::format("{} {}", u.sysname, u.release);
    m.arch = u.machine;
  }
  while (!m.compiler.empty() && m.compiler.back() == ' ') m.compiler.pop_back();  // clang's version ends in one
  if (const std::string why = why_not_to_quote(); !why.empty()) m.compiler += fmt::format(" ({})", why);
  return m;
}

std::string revision() { return WEFT_REVISION; }

}  // namespace bench

// SPDX-License-Identifier: MIT
#include "cgroup.h"

#include <fstream>
#include <sstream>
#include <string_view>

namespace weft::os {
namespace {

struct mount {
  std::string root;   // which directory of the hierarchy is mounted
  std::string point;  // where
};

// Is `item` one of the comma-separated words of `list`?
bool has_word(std::string_view list, std::string_view item) {
  for (;;) {
    const auto comma = list.find(',');
    if (list.substr(0, comma) == item) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

// mountinfo writes space, tab, newline and backslash as \ooo.
std::string unescape(std::string_view s) {
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  std::string out;
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\\' && i + 3 < s.size() && octal(s[i + 1]) && octal(s[i + 2]) && octal(s[i + 3])) {
      out += static_cast<char>((s[i + 1] - '0') * 64 + (s[i + 2] - '0') * 8 + (s[i + 3] - '0'));
      i += 3;
    } else {
      out += s[i];
    }
  }
  return out;
}

// id parent major:minor ROOT POINT options [optional fields...] - TYPE source SUPER_OPTIONS
bool parse_mount(const std::string& line, bool v2, mount& out) {
  std::istringstream in(line);
  std::string skip, root, point, field, type, source, super_options;
  in >> skip >> skip >> skip >> root >> point;
  while (in >> field && field != "-") {
  }
  if (!(in >> type >> source >> super_options)) return false;
  if (v2 ? type != "cgroup2" : type != "cgroup" || !has_word(super_options, "cpu")) return false;
  out = {unescape(root), unescape(point)};
  return true;
}

// `path` of the group as seen below the mount point: "" or "/..."; false when it is not in what is mounted.
bool below_mount(std::string_view path, std::string_view root, std::string& out) {
  if (root == "/") root = "";
  if (!path.starts_with(root)) return false;
  path.remove_prefix(root.size());
  if (!path.empty() && path.front() != '/') return false;  // root /a, path /ab
  if (path.find("/..") != std::string_view::npos) return false;
  if (path == "/") path = "";
  out = path;
  return true;
}

// Quota and period of one directory, both in microseconds; false: none.
bool read_quota(const std::string& dir, bool v2, long long& quota, long long& period) {
  if (v2) {
    std::ifstream in(dir + "/cpu.max");
    if (!(in >> quota >> period)) return false;  // no such file, or "max"
  } else {
    std::ifstream q(dir + "/cpu.cfs_quota_us"), p(dir + "/cpu.cfs_period_us");
    if (!(q >> quota) || !(p >> period)) return false;
  }
  return quota > 0 && period > 0;
}

int limit_of(const std::string& root, const std::string& group, bool v2) {
  std::ifstream mounts(root + "/proc/self/mountinfo");
  std::string line;
  mount m;
  while (std::getline(mounts, line)) {
    if (!parse_mount(line, v2, m)) continue;
    std::string rest;
    if (!below_mount(group, m.root, rest)) rest.clear();
    int least = 0;
    for (;;) {
      long long quota = 0, period = 0;
      if (read_quota(std::string(root).append(m.point).append(rest), v2, quota, period)) {
        const long long cpus = quota / period + (quota % period != 0);
        if (cpus < (1 << 20) && (least == 0 || cpus < least)) least = static_cast<int>(cpus);
      }
      if (rest.empty()) return least;
      rest.resize(rest.find_last_of('/'));
    }
  }
  return 0;
}

}  // namespace

int cgroup_cpu_limit(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  std::string line;
  int least = 0;
  while (std::getline(groups, line)) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && !has_word(controllers, "cpu")) continue;
    const int cpus = limit_of(root, line.substr(second + 1), v2);
    if (cpus > 0 && (least == 0 || cpus < least)) least = cpus;
  }
  return least;
}

}  // namespace weft::os

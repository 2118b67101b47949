// SPDX-License-Identifier: MIT
#include "cgroup.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include "os.h"
#include "row.h"

namespace bench::hierarchy {
namespace {

struct mounted {
  std::string root, point, type, options;  // root: which folder of the hierarchy stands at `point`
};

// mountinfo: id parent device root point options [optional...] - type source super-options
std::vector<mounted> cgroup_mounts() {
  std::vector<mounted> all;
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    mounted m;
    std::string word, source;
    fields >> word >> word >> word >> m.root >> m.point;
    while (fields >> word && word != "-") {
    }
    fields >> m.type >> source >> m.options;
    if (m.type == "cgroup" || m.type == "cgroup2") all.push_back(std::move(m));
  }
  return all;
}

bool has_option(const std::string& options, const std::string& one) {
  return ("," + options + ",").find("," + one + ",") != std::string::npos;
}

struct place {
  std::string folder;       // where this process is
  std::string controllers;  // empty: version 2
};

// /proc/self/cgroup: number:controllers:path, where version 2 has neither number nor controllers.
std::vector<place> places() {
  std::vector<place> found;
  const std::vector<mounted> mounts = cgroup_mounts();
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.starts_with("name=") || has_option(controllers, "cpuset")) continue;
    for (const mounted& m : mounts) {
      const bool this_one =
          controllers.empty()
              ? m.type == "cgroup2"
              : m.type == "cgroup" && has_option(m.options, controllers.substr(0, controllers.find(',')));
      if (!this_one || !path.starts_with(m.root)) continue;
      std::string below = path.substr(m.root.size());
      if (!below.empty() && below.front() != '/') below.insert(below.begin(), '/');
      if (below == "/") below.clear();
      found.push_back({m.point + below, controllers});
      break;
    }
  }
  return found;
}

// A group whose last process is just gone may be busy for a moment.
bool remove_folder(const std::string& path) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (rmdir(path.c_str()) != 0 && errno != ENOENT) {
    if (errno != EBUSY || std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return true;
}

}  // namespace

cgroup::cgroup(std::string name) : name_(std::move(name)) {
  std::string first_failure = "none is mounted";
  std::string version_1, version_2;
  bool tried = false;
  for (const place& p : places()) {
    const folder f{p.folder + "/" + name_, p.controllers};
    if (mkdir(f.path.c_str(), 0755) != 0) {
      if (!tried) first_failure = errno_text("mkdir in " + p.folder);
      tried = true;
      continue;
    }
    if (p.controllers.empty()) {
      const std::string controllers = read_file(f.path + "/cgroup.controllers");
      version_2 = fmt::format("version 2: {}", controllers.empty() ? "no controllers" : controllers);
    } else {
      version_1 += (version_1.empty() ? "version 1: " : ", ") + p.controllers;
    }
    folders_.push_back(f);
  }
  text_ = version_1 + (version_1.empty() || version_2.empty() ? "" : "; ") + version_2;
  if (text_.empty()) text_ = first_failure;
}

cgroup::~cgroup() { remove(); }

void cgroup::make() {
  for (const folder& f : folders_) {
    if (mkdir(f.path.c_str(), 0755) != 0 && errno != EEXIST) throw unavailable(errno_text("mkdir " + f.path));
  }
}

void cgroup::remove() {
  for (const folder& f : folders_) remove_folder(f.path);
}

void cgroup::take(pid_t pid) {
  for (const folder& f : folders_) {
    const std::string list = f.path + "/cgroup.procs";
    if (!write_file(list, std::to_string(pid))) throw unavailable(errno_text("writing " + list));
  }
}

void remove_cgroups(const std::string& beginning) {
  for (const place& p : places()) {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(p.folder, ignored)) {
      if (!entry.path().filename().string().starts_with(beginning)) continue;
      std::ifstream processes(entry.path() / "cgroup.procs");
      for (pid_t pid = 0; processes >> pid;) {
        if (pid > 0) kill(pid, SIGKILL);
      }
      remove_folder(entry.path().string());
    }
  }
}

}  // namespace bench::hierarchy

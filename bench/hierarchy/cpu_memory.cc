// SPDX-License-Identifier: MIT
//
// The bottom of the hierarchy: one cycle of the core, and a load that finds its line in L1, L2, L3 or memory.
//
// A load's latency shows only where each load needs the one before: the lines of a working set are linked into one random
// cycle, and the chase goes round it. Random, since prefetchers foresee everything else; one cycle that visits every line,
// since a shorter one would live in a nearer cache. The working set decides which level answers: half of L1; a quarter
// of L2, or twice L1 (half of it loses lines to others of its own set where small pages lie by chance); three times L2 for L3, or half
// of that where not much of it is within reach; sixteen times L3 for memory, where that is between 256 MiB and 1 GiB.
//
// What is within reach of an L3 is less than its size where others use it, or where the host of a virtual machine has given them
// their share of its ways: of an L3 of 32 MiB, a guest had some 2.5, and a chase round 2 MiB took 18 ns in one turn and 170 in the
// next. So it is asked: a set three times as large as the one to be measured must not take twice what the smallest takes. Two sizes to choose from,
// by one question: a size that followed from what was found (1.5 to 1.7 MiB, another one in each run) made another figure in each run, 24 % apart.
//
// Large pages are asked for, so that the walk through the page tables is not part of the figure; the row says whether they
// were given. Inside a virtual machine they may be small ones to the host, which no guest can see: then a load far away pays
// for the walk all the same.
//
// Sizes: sysfs; where that is silent the processor's own description (CPUID, what one core reaches); then sysconf, which on
// some machines gives the L3 of a whole socket.

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "../experiments.h"
#include "os.h"
#include "row.h"

namespace bench::hierarchy {
namespace {

double ns_per(const bench::stopwatch& watch, std::int64_t n) {
  return static_cast<double>(watch.elapsed().count()) / static_cast<double>(n);
}

// ---- a cycle --------------------------------------------------------------------------------------------------------

class add_chain final : public experiment {
 public:
  double run(std::int64_t n) override {
    const std::int64_t laps = n / adds + 1;
    std::uint64_t x = 0;
    const std::uint64_t step = 3;
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < laps; ++i) {
      // Register to register: some processors do an add of a constant while renaming, in no time at all.
#if defined(__x86_64__)
      asm volatile(".rept 512\n\tadd %1, %0\n\t.endr" : "+r"(x) : "r"(step) : "cc");
#else
      asm volatile(".rept 512\n\tadd %0, %0, %1\n\t.endr" : "+r"(x) : "r"(step));
#endif
    }
    return ns_per(watch, laps * adds);
  }

 private:
  static constexpr std::int64_t adds = 512;
};

// ---- sizes ----------------------------------------------------------------------------------------------------------

struct cache_size {
  std::int64_t bytes;
  std::string source;
};

std::optional<cache_size> size_in_sysfs(int level) {
  for (int index = 0; index < 16; ++index) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu{}/cache/index{}/", home_cpu(), index);
    const std::string size = read_file(folder + "size");
    if (size.empty()) return std::nullopt;
    if (read_file(folder + "level") != std::to_string(level) || read_file(folder + "type") == "Instruction") continue;
    const std::int64_t number = std::strtoll(size.c_str(), nullptr, 10);
    const std::int64_t unit = size.back() == 'K' ? 1 << 10 : size.back() == 'M' ? 1 << 20 : 1;
    if (number > 0) return cache_size{number * unit, "sysfs"};
  }
  return std::nullopt;
}

#if defined(__x86_64__)
// Intel's leaf 4 and AMD's 8000001D have one layout: type and level in eax; ways, partitions and line in ebx; sets in ecx.
std::optional<cache_size> size_in_cpuid(int level) {
  for (const unsigned leaf : {4U, 0x8000001DU}) {
    for (unsigned index = 0; index < 16; ++index) {
      unsigned a = 0, b = 0, c = 0, d = 0;
      if (__get_cpuid_count(leaf, index, &a, &b, &c, &d) == 0 || (a & 31) == 0) break;
      const bool instructions = (a & 31) == 2;
      if (instructions || static_cast<int>(a >> 5 & 7) != level) continue;
      const std::int64_t ways = (b >> 22) + 1, partitions = (b >> 12 & 1023) + 1, line = (b & 4095) + 1;
      return cache_size{ways * partitions * line * (std::int64_t{c} + 1), "CPUID"};
    }
  }
  return std::nullopt;
}
#else
std::optional<cache_size> size_in_cpuid(int) { return std::nullopt; }
#endif

std::optional<cache_size> size_in_sysconf(int level) {
  const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE};
  const std::int64_t size = sysconf(names[level - 1]);
  return size > 0 ? std::optional(cache_size{size, "sysconf"}) : std::nullopt;
}

std::optional<cache_size> size_of_cache(int level) {
  for (const auto ask : {size_in_sysfs, size_in_cpuid, size_in_sysconf}) {
    if (auto size = ask(level)) return size;
  }
  return std::nullopt;
}

cache_size known_size(int level) {
  const auto size = size_of_cache(level);
  if (!size) throw unavailable(fmt::format("the machine does not tell the size of its L{}", level));
  return *size;
}

std::string in_words(std::int64_t bytes) {
  return bytes % (1 << 20) == 0 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10);
}

// ---- the chase ------------------------------------------------------------------------------------------------------

class chase final : public experiment {
 public:
  chase(std::int64_t bytes, const std::string& why)
      : size_((static_cast<std::size_t>(bytes) + huge_page - 1) / huge_page * huge_page + huge_page) {
    pin_to(home_cpu());
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw unavailable(errno_text(fmt::format("mmap of {}", in_words(bytes))));
    const auto first = (reinterpret_cast<std::uintptr_t>(memory_) + huge_page - 1) & ~(huge_page - 1);
    madvise(reinterpret_cast<void*>(first), size_ - huge_page, MADV_HUGEPAGE);
    lines_ = reinterpret_cast<line*>(first);
    link(static_cast<std::size_t>(bytes) / sizeof(line));
    at_ = &lines_[0];
    detail = fmt::format("working set {}; {}; {}", in_words(bytes), why, pages(first, bytes));
  }
  ~chase() override { munmap(memory_, size_); }

  double run(std::int64_t n) override {
    constexpr std::int64_t unrolled = 64;
    const std::int64_t laps = n / unrolled + 1;
    const line* at = at_;
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < laps; ++i) {
#pragma GCC unroll 64
      for (std::int64_t k = 0; k < unrolled; ++k) at = at->next;
      asm volatile("" : "+r"(at));  // or the chase could be left out
    }
    const double ns = ns_per(watch, laps * unrolled);
    at_ = at;
    return ns;
  }

  // Round, unless what is visited is meant to be in no cache: three times, or a shared L3 gives lines that it has seen once to others first.
  void warm_up(std::int64_t n) override {
    run(n);
    if (count_ * sizeof(line) <= most_to_warm) run(3 * static_cast<std::int64_t>(count_));
  }

 private:
  struct line {
    const line* next;
    std::byte rest[64 - sizeof(void*)];
  };
  static constexpr std::uintptr_t huge_page = 2 << 20;
  static constexpr std::size_t most_to_warm = 64 << 20;

  void link(std::size_t count) {
    count_ = count;
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0U);
    std::shuffle(order.begin(), order.end(), std::mt19937(1));
    for (std::size_t i = 0; i < count; ++i) lines_[order[i]].next = &lines_[order[(i + 1) % count]];
  }

  static bool in_virtual_machine() { return read_file("/proc/cpuinfo").find(" hypervisor") != std::string::npos; }

  // What the kernel says of the mapping that holds `first`.
  static std::string pages(std::uintptr_t first, std::int64_t bytes) {
    std::ifstream smaps("/proc/self/smaps");
    bool here = false;
    for (std::string text; std::getline(smaps, text);) {
      std::uintptr_t low = 0, high = 0;
      if (std::sscanf(text.c_str(), "%lx-%lx ", &low, &high) == 2) here = low <= first && first < high;
      long kib = 0;
      if (!here || std::sscanf(text.c_str(), "AnonHugePages: %ld kB", &kib) != 1) continue;
      if (kib >= bytes >> 10) return in_virtual_machine() ? "large pages, unless the host's are small" : "large pages";
      if (kib > 0) return "large pages in part, so some TLB misses are included";
      break;
    }
    return "small pages, so TLB misses are included";
  }

  void* memory_;
  std::size_t size_;
  line* lines_ = nullptr;
  std::size_t count_ = 0;
  const line* at_ = nullptr;
};

std::unique_ptr<experiment> in_first_level(const setup&) {
  const cache_size l1 = known_size(1);
  return std::make_unique<chase>(l1.bytes / 2, fmt::format("L1 is {} by {}", in_words(l1.bytes), l1.source));
}

std::unique_ptr<experiment> in_second_level(const setup&) {
  const cache_size l1 = known_size(1), l2 = known_size(2);
  if (l2.bytes < 4 * l1.bytes) throw unavailable("L2 is less than four times L1: no working set is surely in L2 alone");
  return std::make_unique<chase>(std::max(l2.bytes / 4, 2 * l1.bytes),
                                 fmt::format("L2 is {} by {}", in_words(l2.bytes), l2.source));
}

// Whether L3 holds a set of so many bytes for us: what takes twice as long as the smallest that L2 does not hold is not held.
bool within_reach(std::int64_t bytes, std::int64_t smallest) {
  const auto lap = [](std::int64_t set) {
    chase c(set, "");
    const std::int64_t lines = set / 64;
    c.warm_up(0);
    double least = c.run(lines);
    for (int i = 0; i < 4; ++i) least = std::min(least, c.run(lines));
    return least;
  };
  return lap(bytes) < 2 * lap(smallest);
}

std::unique_ptr<experiment> in_third_level(const setup&) {
  const cache_size l2 = known_size(2), l3 = known_size(3);
  if (l3.bytes < 4 * l2.bytes) throw unavailable("L3 is less than four times L2: no working set is surely in L3 alone");
  const std::int64_t smallest = 3 * l2.bytes / 2;
  const std::int64_t asked = std::min(9 * l2.bytes, l3.bytes);
  const bool held = within_reach(asked, smallest);
  return std::make_unique<chase>(held ? std::max(asked / 3, smallest) : smallest,
                                 fmt::format("L3 is {} by {}, {} of it {}within reach", in_words(l3.bytes), l3.source,
                                             asked < l3.bytes ? in_words(asked) : "all", held ? "" : "not "));
}

// What the kernel would give up for it counts too, and is most of what there is on a machine that has been up for long.
std::int64_t available_memory() {
  const std::string text = read_file("/proc/meminfo");
  constexpr std::string_view key = "MemAvailable:";
  const auto at = text.find(key);
  return at == std::string::npos ? sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE)
                                 : std::strtoll(text.c_str() + at + key.size(), nullptr, 10) << 10;
}

std::unique_ptr<experiment> in_memory(const setup& s) {
  constexpr std::int64_t least = 256 << 20, most = 1 << 30;
  const auto last = [] {
    for (const int level : {3, 2, 1}) {
      if (const auto size = size_of_cache(level)) return std::pair(*size, level);
    }
    return std::pair(cache_size{0, ""}, 0);
  }();
  const std::int64_t bytes = s.quick ? least / 4 : std::clamp(16 * last.first.bytes, least, most);
  if (bytes > available_memory() / 2) {
    throw unavailable(fmt::format("the working set, {}, is more than half of the memory to be had", in_words(bytes)));
  }
  if (!s.quick && bytes < 2 * last.first.bytes) {
    throw unavailable(fmt::format("L{} is {} by {}: a working set twice as large is more than this bench takes",
                                  last.second, in_words(last.first.bytes), last.first.source));
  }
  return std::make_unique<chase>(bytes, last.second == 0 ? "the machine does not tell the sizes of its caches"
                                                         : fmt::format("L{} is {} by {}", last.second,
                                                                       in_words(last.first.bytes), last.first.source));
}

}  // namespace

rows cpu_and_memory_rows() {
  const char* const chased = "a load that needs the load before it, round a random cycle of cache lines";
  return {
      {"cpu.cycle", "an add that needs the result of the add before it", isolation::none, usual_batch,
       [](const setup&) { return std::make_unique<add_chain>(); }},
      {"load.l1", chased, isolation::none, usual_batch, in_first_level},
      {"load.l2", chased, isolation::none, usual_batch, in_second_level},
      {"load.l3", chased, isolation::none, usual_batch, in_third_level},
      {"load.dram", chased, isolation::none, usual_batch, in_memory},
  };
}

}  // namespace bench::hierarchy

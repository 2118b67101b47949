// SPDX-License-Identifier: MIT
//
// The simulated machine's sections (memory.cc). A section's load of the guard, its load of the word and its commit are points like any
// other; a fence_sections of another thread in between aborts it, and so may, for no reason, the explorer. Included by os/section.h only.

#pragma once

namespace weft {

namespace sim {

bool fence_of_all_sections(site s) noexcept;
enum class section_commit : std::uint8_t { store, overwrite, exchange };
os::section_result section(os::guarded_word& w, std::uint64_t mine, std::uint64_t expected, std::uint64_t desired,
                           section_commit by, site s) noexcept;

}  // namespace sim

namespace os {

using section_slot = std::uint64_t;
using call_site = sim::site;

inline void empty(section_slot*) noexcept {}

inline std::uint64_t load_word(const guarded_word& w, std::memory_order o, call_site s) noexcept {
  return w.word.load(o, s);
}
inline bool exchange_word(guarded_word& w, std::uint64_t expected, std::uint64_t desired, std::memory_order ok,
                          call_site s) noexcept {
  return w.word.compare_exchange_strong(expected, desired, ok, relaxed, s);
}

extern bool sections;  // may be switched off for a simulation (explore.h)

section_slot* section_slot_of_thread() noexcept;
[[nodiscard]] inline bool fence_sections(sim::site s = sim::site::here()) { return sim::fence_of_all_sections(s); }

inline section_result section_store(section_slot*, guarded_word& w, std::uint64_t mine, std::uint64_t expected,
                                    std::uint64_t desired, sim::site s = sim::site::here()) {
  return sim::section(w, mine, expected, desired, sim::section_commit::store, s);
}
// That the word holds something else is a failure.
inline section_result section_overwrite(section_slot*, guarded_word& w, std::uint64_t mine, std::uint64_t expected,
                                        std::uint64_t desired, sim::site s = sim::site::here()) {
  return sim::section(w, mine, expected, desired, sim::section_commit::overwrite, s);
}
inline section_result section_exchange(section_slot*, guarded_word& w, std::uint64_t mine, std::uint64_t expected,
                                       std::uint64_t desired, sim::site s = sim::site::here()) noexcept {
  return sim::section(w, mine, expected, desired, sim::section_commit::exchange, s);
}

}  // namespace os
}  // namespace weft

// SPDX-License-Identifier: MIT
//
// The simulated machine has no page faults.

#include "../pager.h"

#include <cerrno>
#include <system_error>

namespace weft::os {

page_faults::page_faults() {
  throw std::system_error(ENOSYS, std::generic_category(), "weft: no page faults on this machine");
}
page_faults::~page_faults() { close(); }
void page_faults::close() noexcept {}
void page_faults::watch(void*, std::size_t) {}
std::size_t page_faults::wait(page_fault*, std::size_t) noexcept { return 0; }
void page_faults::interrupt() noexcept {}
bool page_faults::protect(void*, std::size_t) noexcept { return false; }
void page_faults::unprotect(void*) noexcept {}
void page_faults::place(void*, const void*) noexcept {}
bool page_faults::present(const void*, std::size_t, unsigned char*) noexcept { return false; }
bool page_faults::read(const void*, void*) const noexcept { return false; }

}  // namespace weft::os

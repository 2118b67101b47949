// SPDX-License-Identifier: MIT

#include "block_cache.h"

#include "world.h"

namespace weft::rt {

void block_cache::drop() noexcept {
  for (list& of : lists_) {
    while (block* b = of.first) {
      of.first = b->next;
      ::operator delete(b);
    }
    of.count = 0;
  }
}

sized_block allocate_block(std::size_t bytes) {
  if (bytes > block_cache::classes * block_cache::granule) return {::operator new(bytes), 0};
  const std::size_t granules = (bytes + block_cache::granule - 1) / block_cache::granule;
  if (M* m = self(); m && m->p) {
    if (void* cached = m->p->more->blocks.take(granules)) return {cached, static_cast<std::uint32_t>(granules)};
  }
  return {::operator new(granules* block_cache::granule), static_cast<std::uint32_t>(granules)};
}

void free_block(sized_block b) noexcept {
  if (b.granules != 0) {
    M* m = self();
    if (m && m->p && m->p->more->blocks.give(b.granules, b.memory)) return;
  }
  ::operator delete(b.memory);
}

}  // namespace weft::rt

// SPDX-License-Identifier: MIT

#include "locals.h"

#include <memory>
#include <vector>

#include "../os/thread_data.h"
#include "self.h"

namespace weft::rt {

namespace {

struct local_value {
  std::uint64_t key;
  void* value;
  void (*destroy)(void*);
};
using table = std::vector<local_value>;

atomic<std::uint64_t> next_key{1};

void end_table(table* t) noexcept {
  while (!t->empty()) {
    local_value last = t->back();
    t->pop_back();  // first: its destructor may make others, or the same anew
    last.destroy(last.value);
  }
  delete t;
}

// Threads destroy theirs at their end; the C library calls again for what that brings forth.
os::thread_data& of_threads() {
  static os::thread_data data([](void* t) { end_table(static_cast<table*>(t)); });
  return data;
}

}  // namespace

std::uint64_t new_local_key() { return next_key.fetch_add(1, relaxed); }  // relaxed: uniqueness is all that is asked

void* find_local(std::uint64_t key) noexcept {
  M* m = self();
  auto* t = static_cast<table*>(m ? m->curg->locals : of_threads().get());
  if (!t) return nullptr;
  for (const local_value& v : *t)
    if (v.key == key) return v.value;
  return nullptr;
}

void add_local(std::uint64_t key, void* value, void (*destroy)(void*)) {
  M* m = self();
  auto* t = static_cast<table*>(m ? m->curg->locals : of_threads().get());
  if (!t) {
    auto fresh = std::make_unique<table>();
    if (m)
      m->curg->locals = fresh.get();
    else
      of_threads().set(fresh.get());
    t = fresh.release();
  }
  t->push_back({key, value, destroy});
}

void end_locals(G* g) noexcept {
  while (g->locals) {
    auto* t = static_cast<table*>(g->locals);
    while (!t->empty()) {
      local_value last = t->back();
      t->pop_back();
      last.destroy(last.value);
    }
    g->locals = nullptr;
    delete t;
  }
}

}  // namespace weft::rt

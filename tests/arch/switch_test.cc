// SPDX-License-Identifier: MIT
//
// The switch keeps its ledger (arch/switch.h): bare contexts, no scheduler. ThreadSanitizer is not told of these switches,
// so the functions that take part are not instrumented.
#include "arch/first_frame.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cfenv>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>

#include "runtime/os/cpu.h"
#include "tests/support/scale.h"

#if WEFT_TSAN
#define UNSEEN __attribute__((no_sanitize("thread"), noinline))
#else
#define UNSEEN __attribute__((noinline))
#endif

// weft_test_call(fn, args, in, out): calls fn(args[0], ... args[5]) with every register that a callee must keep filled from
// `in`, and stores what they hold afterwards in `out`. In order: x86-64 rbx rbp r12-r15; AArch64 x19-x28 x29 d8-d15.
#if defined(__x86_64__)
constexpr std::size_t kept_registers = 6;
asm(R"(
  .text
  .globl weft_test_call
  .hidden weft_test_call
  .type weft_test_call, @function
weft_test_call:
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  pushq %rcx
  movq %rdi, %r11
  movq %rsi, %r10
  movq %rdx, %rax
  movq 0(%r10), %rdi
  movq 8(%r10), %rsi
  movq 16(%r10), %rdx
  movq 24(%r10), %rcx
  movq 32(%r10), %r8
  movq 40(%r10), %r9
  movq 0(%rax), %rbx
  movq 8(%rax), %rbp
  movq 16(%rax), %r12
  movq 24(%rax), %r13
  movq 32(%rax), %r14
  movq 40(%rax), %r15
  call *%r11
  popq %rcx
  movq %rbx, 0(%rcx)
  movq %rbp, 8(%rcx)
  movq %r12, 16(%rcx)
  movq %r13, 24(%rcx)
  movq %r14, 32(%rcx)
  movq %r15, 40(%rcx)
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size weft_test_call, . - weft_test_call
)");
#else
constexpr std::size_t kept_registers = 19;
asm(R"(
  .text
  .balign 4
  .globl weft_test_call
  .hidden weft_test_call
  .type weft_test_call, %function
weft_test_call:
  hint #34
  stp x29, x30, [sp, #-176]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  str x3, [sp, #160]
  mov x16, x0
  mov x17, x1
  mov x9, x2
  ldp x0, x1, [x17]
  ldp x2, x3, [x17, #16]
  ldp x4, x5, [x17, #32]
  ldp x19, x20, [x9]
  ldp x21, x22, [x9, #16]
  ldp x23, x24, [x9, #32]
  ldp x25, x26, [x9, #48]
  ldp x27, x28, [x9, #64]
  ldr x29, [x9, #80]
  ldp d8, d9, [x9, #88]
  ldp d10, d11, [x9, #104]
  ldp d12, d13, [x9, #120]
  ldp d14, d15, [x9, #136]
  blr x16
  ldr x9, [sp, #160]
  stp x19, x20, [x9]
  stp x21, x22, [x9, #16]
  stp x23, x24, [x9, #32]
  stp x25, x26, [x9, #48]
  stp x27, x28, [x9, #64]
  str x29, [x9, #80]
  stp d8, d9, [x9, #88]
  stp d10, d11, [x9, #104]
  stp d12, d13, [x9, #120]
  stp d14, d15, [x9, #136]
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x29, x30, [sp], #176
  ret
  .size weft_test_call, . - weft_test_call
)");
#endif

using registers = std::array<std::uint64_t, kept_registers>;
using arguments = std::array<std::uint64_t, 6>;

extern "C" std::uint64_t weft_test_call(const void* fn, const std::uint64_t* args, const std::uint64_t* in,
                                        std::uint64_t* out);

namespace weft {
namespace {

using arch::context;

struct stack {
  static constexpr std::size_t size = 256 << 10;
  std::unique_ptr<char[]> room{new char[size]};
  char* top() { return room.get() + size; }
};

template <class T>
std::uint64_t bits(T* p) {
  return reinterpret_cast<std::uint64_t>(p);
}

// The forms of a switch under one signature. The inlined ones in a function of their own, which then has to keep what a callee
// must keep, and more values than there are registers besides.
enum class form { plain, plain_inline, cas, cas_inline, section_inline, section_cas_inline, store_inline };
constexpr form all_forms[] = {form::plain,          form::plain_inline,       form::cas,         form::cas_inline,
                              form::section_inline, form::section_cas_inline, form::store_inline};

const char* name_of(form f) {
  switch (f) {
    case form::plain:
      return "weft_switch";
    case form::plain_inline:
      return "switch_inline";
    case form::cas:
      return "weft_switch_cas";
    case form::cas_inline:
      return "switch_cas_inline";
    case form::section_inline:
      return "switch_section_inline, with the flag";
    case form::section_cas_inline:
      return "switch_section_inline, without";
    case form::store_inline:
      return "switch_store_inline";
  }
  return "?";
}

extern "C" {
// fast_rand for code on stacks that ThreadSanitizer has not been told of: nothing in it is instrumented.
struct unseen_rand {
  UNSEEN explicit unseen_rand(std::uint64_t seed) : state(seed) {}
  UNSEEN std::uint64_t next() {
    state += 0x9e3779b97f4a7c15;  // splitmix64
    std::uint64_t z = (state ^ state >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  UNSEEN std::uint64_t below(std::uint64_t n) { return next() % n; }
  std::uint64_t state;
};

UNSEEN void test_switch_inline(context* from, context* to) { arch::switch_inline(from, to); }
// A context with the byte behind it by which the inlined forms say that the commit failed.
struct spot : context {
  std::uint8_t said = 0;
};
constexpr std::size_t said_at = sizeof(context);
static_assert(sizeof(spot) > said_at);
constexpr std::uint8_t lost = 0xa5;
UNSEEN bool went(context* from) {
  return __atomic_exchange_n(reinterpret_cast<std::uint8_t*>(from) + said_at, 0, __ATOMIC_RELAXED) != lost;
}
UNSEEN bool test_switch_cas_inline(context* from, context* to, std::uint64_t* word, std::uint64_t expected,
                                   std::uint64_t desired) {
  arch::switch_cas_inline<said_at, lost>(from, to, word, expected, desired);
  return went(from);
}
// A guarded word, and what goes with it. The kernel knows nothing of this slot, so nothing aborts the section.
struct guarded {
  std::uint64_t word;
  std::uint64_t guard;
  std::uint64_t expected;
  std::uint64_t desired;
  std::uint64_t mine;
  std::uint64_t slot;
};
UNSEEN bool test_switch_section_inline(context* from, context* to, guarded* g) {
  arch::switch_section_inline<said_at, lost>(from, to, &g->word, g->expected, g->desired, &g->slot, g->mine);
  return went(from);
}
UNSEEN void test_switch_store_inline(context* from, context* to, std::uint32_t* word, std::uint32_t value) {
  arch::switch_store_inline(from, to, word, value);
}
}

struct switcher {
  std::uint64_t word = 0;
  std::uint32_t small_word = 0;
  std::uint32_t done = 1;
  guarded pair{};
};

// from -> to by the given form, with random patterns in the registers; true when they were there afterwards.
UNSEEN bool switch_with_patterns(form f, context* from, context* to, switcher& s, unseen_rand& r) {
  registers in;
  registers out{};
  for (std::size_t i = 0; i < kept_registers; ++i) in[i] = r.next();
  arguments args{bits(from), bits(to), 0, 0, 0, 0};
  const void* fn = nullptr;
  switch (f) {
    case form::plain:
      fn = reinterpret_cast<void*>(&weft_switch);
      break;
    case form::plain_inline:
      fn = reinterpret_cast<void*>(&test_switch_inline);
      break;
    case form::cas:
      fn = reinterpret_cast<void*>(&weft_switch_cas);
      args = {bits(from), bits(to), bits(&s.word), s.word, s.word + 1, bits(&s.done)};
      break;
    case form::cas_inline:
      fn = reinterpret_cast<void*>(&test_switch_cas_inline);
      args = {bits(from), bits(to), bits(&s.word), s.word, s.word + 1, 0};
      break;
    case form::section_inline:
    case form::section_cas_inline: {
      fn = reinterpret_cast<void*>(&test_switch_section_inline);
      const std::uint64_t flag = f == form::section_inline ? arch::bias_flag : 0;
      const std::uint64_t before = s.pair.desired;
      s.pair = {before | flag, 0xabcd00, before | flag, (before + 16) | flag, 0xabcd00, 99};
      args = {bits(from), bits(to), bits(&s.pair), 0, 0, 0};
      break;
    }
    case form::store_inline:
      fn = reinterpret_cast<void*>(&test_switch_store_inline);
      args = {bits(from), bits(to), bits(&s.small_word), s.small_word + 1, 0, 0};
      break;
  }
  (void)weft_test_call(fn, args.data(), in.data(), out.data());
  return in == out;
}

struct partner {
  spot main;
  spot other;
  switcher s;
  unseen_rand main_rand{1};
  unseen_rand other_rand{2};
  form f = form::plain;
  bool other_kept = true;
  int visits = 0;
};

UNSEEN void partner_main(void* arg) {
  auto* p = static_cast<partner*>(arg);
  for (;;) {
    ++p->visits;
    // Goes back by each form in turn, so that every form is resumed by every other.
    const form back = all_forms[static_cast<std::size_t>(p->visits) % std::size(all_forms)];
    if (!switch_with_patterns(back, &p->other, &p->main, p->s, p->other_rand)) p->other_kept = false;
  }
}

TEST(arch_switch, every_register_a_callee_owns_keeps_its_pattern) {
  for (const form f : all_forms) {
    stack st;
    partner p;
    arch::make_first_frame(p.other, st.top(), partner_main, &p);
    for (int i = 0; i < 1'000; ++i) {
      EXPECT_TRUE(switch_with_patterns(f, &p.main, &p.other, p.s, p.main_rand)) << name_of(f);
      EXPECT_TRUE(p.other_kept) << name_of(f);
      EXPECT_EQ(p.visits, i + 1);
    }
  }
}

TEST(arch_switch, the_cas_forms_commit_and_say_so) {
  stack st;
  partner p;
  arch::make_first_frame(p.other, st.top(), partner_main, &p);
  constexpr int last = static_cast<int>(std::size(all_forms)) - 1;
  p.visits = last;  // comes back by weft_switch
  p.s.word = 5;
  std::uint64_t word = 17;
  std::uint32_t done = 99;
  EXPECT_TRUE(weft_switch_cas(&p.main, &p.other, &word, 17, 18, &done));
  EXPECT_EQ(word, 18u);
  EXPECT_EQ(done, 0u);
  EXPECT_EQ(p.visits, last + 1);
  word = ~std::uint64_t{0};
  p.visits = last;
  context* mine = &p.main;
  arch::switch_cas_inline<said_at, lost>(mine, &p.other, &word, ~std::uint64_t{0}, 0);
  EXPECT_TRUE(went(mine));
  EXPECT_EQ(mine, &p.main);  // who is resumed is told who it is
  EXPECT_EQ(word, 0u);
  EXPECT_EQ(p.visits, last + 1);
  for (const std::uint64_t flag : {arch::bias_flag, std::uint64_t{0}}) {
    guarded g{64 | flag, 7, 64 | flag, 80 | flag, 7, 99};
    p.visits = last;
    mine = &p.main;
    arch::switch_section_inline<said_at, lost>(mine, &p.other, &g.word, g.expected, g.desired, &g.slot, g.mine);
    EXPECT_TRUE(went(mine));
    EXPECT_EQ(mine, &p.main);
    EXPECT_EQ(g.word, 80 | flag);
    EXPECT_EQ(g.guard, 7u);
    EXPECT_EQ(g.slot, flag != 0 ? 0u : 99u);  // emptied behind the section; without one it is not touched
    EXPECT_EQ(p.visits, last + 1);
  }
  std::uint32_t small = 3;
  p.visits = last;
  arch::switch_store_inline(&p.main, &p.other, &small, 0xffff'fffe);
  EXPECT_EQ(small, 0xffff'fffeu);
  EXPECT_EQ(p.visits, last + 1);
}

// What the kernel will look for in the descriptor that a slot is left with when a section does not come to its end (arch/section.h).
TEST(arch_switch, a_section_is_described_as_the_kernel_asks) {
#if defined(__x86_64__)
  constexpr std::uint32_t signature = 0x53053053;
#else
  constexpr std::uint32_t signature = 0xd428bc00;
#endif
  struct alignas(32) descriptor {
    std::uint32_t version, flags;
    std::uint64_t start, length, abort;
  };
  spot from;
  spot to;
  guarded g{64 | arch::bias_flag, 7, 64 | arch::bias_flag, 80 | arch::bias_flag, 8, 0};  // another's
  EXPECT_FALSE(test_switch_section_inline(&from, &to, &g));
  ASSERT_NE(g.slot, 0u);
  ASSERT_EQ(g.slot % 32, 0u);
  const auto* d = reinterpret_cast<const descriptor*>(g.slot);
  EXPECT_EQ(d->version, 0u);
  EXPECT_EQ(d->flags, 0u);
  const auto begin = bits(&test_switch_section_inline);
  EXPECT_GT(d->start, begin);
  EXPECT_LT(d->start + d->length, begin + 1'000);
  EXPECT_GT(d->length, 8u);
  EXPECT_LT(d->length, 64u);
  EXPECT_TRUE(d->abort < d->start || d->abort >= d->start + d->length);
  std::uint32_t found = 0;
  std::memcpy(&found, reinterpret_cast<const char*>(d->abort) - 4, 4);
  EXPECT_EQ(found, signature);
}

TEST(arch_switch, a_cas_that_fails_has_done_nothing) {
  stack st;
  partner p;
  arch::make_first_frame(p.other, st.top(), partner_main, &p);
  const context untouched = p.other;
  unseen_rand r(3);
  for (int i = 0; i < 1'000; ++i) {
    std::uint64_t word = r.next();
    const std::uint64_t value = word;
    std::uint32_t done = 7;
    const std::uint64_t expected = word + 1 + r.below(1000);
    registers in;
    registers out{};
    for (auto& v : in) v = r.next();
    const arguments args{bits(&p.main), bits(&p.other), bits(&word), expected, value + 5, bits(&done)};
    EXPECT_EQ(weft_test_call(reinterpret_cast<void*>(&weft_switch_cas), args.data(), in.data(), out.data()) & 0xff, 0u);
    EXPECT_EQ(in, out);
    EXPECT_EQ(word, value);
    EXPECT_EQ(done, 7u);
    EXPECT_EQ(
        weft_test_call(reinterpret_cast<void*>(&test_switch_cas_inline), args.data(), in.data(), out.data()) & 0xff,
        0u);
    EXPECT_EQ(in, out);
    EXPECT_EQ(word, value);
    // A guarded word: another value, with the flag and without; the flag, and another's guard.
    for (int why = 0; why < 3; ++why) {
      const std::uint64_t flag = why == 0 ? 0 : arch::bias_flag;
      const std::uint64_t now = (value & ~std::uint64_t{15}) | flag;
      guarded g{now, 16, why == 2 ? now : (now ^ (16 + 16 * r.below(1000))), 0, why == 2 ? 32U : 16U, 0};
      const arguments with{bits(&p.main), bits(&p.other), bits(&g), 0, 0, 0};
      EXPECT_EQ(
          weft_test_call(reinterpret_cast<void*>(&test_switch_section_inline), with.data(), in.data(), out.data()) &
              0xff,
          0u);
      EXPECT_EQ(in, out);
      EXPECT_EQ(g.word, now);
    }
  }
  EXPECT_EQ(p.visits, 0);
  EXPECT_EQ(untouched.pc, p.other.pc);
  EXPECT_EQ(untouched.sp, p.other.sp);
}

// More live values than any register file holds, of every kind, across an inlined switch.
UNSEEN std::uint64_t many_live_values(context* from, context* to, unseen_rand& r) {
  std::uint64_t i[20];
  double d[20];
  for (auto& v : i) v = r.next();
  for (auto& v : d) v = static_cast<double>(r.below(1u << 30));
  const std::uint64_t a0 = i[0], a1 = i[1], a2 = i[2], a3 = i[3], a4 = i[4], a5 = i[5], a6 = i[6], a7 = i[7], a8 = i[8],
                      a9 = i[9], a10 = i[10], a11 = i[11], a12 = i[12], a13 = i[13];
  const double b0 = d[0], b1 = d[1], b2 = d[2], b3 = d[3], b4 = d[4], b5 = d[5], b6 = d[6], b7 = d[7], b8 = d[8],
               b9 = d[9], b10 = d[10], b11 = d[11], b12 = d[12], b13 = d[13], b14 = d[14], b15 = d[15], b16 = d[16],
               b17 = d[17];
  const long double wide = static_cast<long double>(d[18]) + 0.5L;
  arch::switch_inline(from, to);
  std::uint64_t wrong = 0;
  wrong += (a0 ^ i[0]) | (a1 ^ i[1]) | (a2 ^ i[2]) | (a3 ^ i[3]) | (a4 ^ i[4]) | (a5 ^ i[5]) | (a6 ^ i[6]) |
           (a7 ^ i[7]) | (a8 ^ i[8]) | (a9 ^ i[9]) | (a10 ^ i[10]) | (a11 ^ i[11]) | (a12 ^ i[12]) | (a13 ^ i[13]);
  const double sums = b0 - d[0] + b1 - d[1] + b2 - d[2] + b3 - d[3] + b4 - d[4] + b5 - d[5] + b6 - d[6] + b7 - d[7] +
                      b8 - d[8] + b9 - d[9] + b10 - d[10] + b11 - d[11] + b12 - d[12] + b13 - d[13] + b14 - d[14] +
                      b15 - d[15] + b16 - d[16] + b17 - d[17];
  if (sums != 0) wrong |= 1;
  if (wide != static_cast<long double>(d[18]) + 0.5L) wrong |= 2;
  return wrong;
}

// A leaf: on x86-64 its locals lie in the red zone, below the stack pointer.
UNSEEN int leaf_with_locals(context* from, context* to, int seed) {
  volatile int room[16];
  for (int k = 0; k < 16; ++k) room[k] = seed + k;
  arch::switch_inline(from, to);
  int wrong = 0;
  for (int k = 0; k < 16; ++k) wrong += room[k] != seed + k;
  return wrong;
}

TEST(arch_switch, what_the_compiler_holds_survives_an_inlined_switch) {
  stack st;
  partner p;
  arch::make_first_frame(p.other, st.top(), partner_main, &p);
  unseen_rand r(4);
  for (int i = 0; i < 1'000; ++i) {
    EXPECT_EQ(many_live_values(&p.main, &p.other, r), 0u);
    EXPECT_EQ(leaf_with_locals(&p.main, &p.other, i), 0);
  }
  EXPECT_TRUE(p.other_kept);
}

struct entered {
  context main;
  context other;
  std::uintptr_t frame = 0;
  void* arg = nullptr;
};

UNSEEN void note_frame(void* arg) {
  auto* e = static_cast<entered*>(arg);
  e->arg = arg;
  // At a function's entry: x86-64 rsp + 8, AArch64 sp, is a multiple of 16; and so is the frame pointer behind the prologue.
  e->frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  weft_jump(&e->main);
}

TEST(arch_switch, the_first_frame_is_aligned_and_gets_its_argument_wherever_the_stack_ends) {
  for (std::size_t off = 0; off < 64; ++off) {
    stack st;
    entered e;
    char* top = st.top() - off;
    arch::make_first_frame(e.other, top, note_frame, &e);
    weft_switch(&e.main, &e.other);
    EXPECT_EQ(e.arg, &e);
    EXPECT_EQ(e.frame % 16, 0u) << off;
    EXPECT_LT(e.frame, reinterpret_cast<std::uintptr_t>(top));
    EXPECT_GT(e.frame + 256, reinterpret_cast<std::uintptr_t>(top)) << "near the top";
  }
}

TEST(arch_switch, nothing_above_the_top_is_written) {
  stack st;
  char* top = st.top() - 1024;
  std::memset(top, 0x5a, 1024);
  partner p;
  arch::make_first_frame(p.other, top, partner_main, &p);
  for (int i = 0; i < 100; ++i) weft_switch(&p.main, &p.other);
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(top[i], 0x5a);
}

// Publish after saving. A computation wanders between two threads: it publishes itself by the commit of its switch, and whoever
// sees the word takes it and resumes it at once, while the thread that it left is still in the load half.
struct wanderer {
  spot self;
  std::atomic<context*> host{nullptr};  // of the thread that runs it; written before it is resumed
  alignas(64) std::uint64_t word = 0;   // 0: taken. 1: to be had
  alignas(64) std::uint32_t small_word = 0;
  std::uint32_t done = 0;
  std::uint64_t hops = 0;
  std::uint64_t wanted = 0;
  std::uint64_t bad = 0;
  std::uint64_t threads_changed = 0;
  alignas(64) std::atomic<bool> over{false};
};

extern "C" {
// Called with patterns in the registers. The switches are chosen by the number of the hop.
UNSEEN void wanderer_hop(wanderer* w, std::uint64_t which) {
  context* host = w->host.load(std::memory_order_relaxed);
  switch (which % 3) {
    case 0:
      (void)weft_switch_cas(&w->self, host, &w->word, 0, 1, &w->done);
      break;
    case 1: {
      context* mine = &w->self;
      arch::switch_cas_inline<said_at, lost>(mine, host, &w->word, 0, 1);
      break;
    }
    default:
      arch::switch_store_inline(&w->self, host, &w->small_word, 1);
      break;
  }
}
}

UNSEEN void wanderer_main(void* arg) {
  auto* w = static_cast<wanderer*>(arg);
  unseen_rand r(5);
  while (w->hops < w->wanted) {
    registers in;
    registers out{};
    for (auto& v : in) v = r.next();
    const arguments args{bits(w), w->hops, 0, 0, 0, 0};
    context* before = w->host.load(std::memory_order_relaxed);
    (void)weft_test_call(reinterpret_cast<void*>(&wanderer_hop), args.data(), in.data(), out.data());
    if (in != out) ++w->bad;
    if (w->host.load(std::memory_order_relaxed) != before) ++w->threads_changed;
    ++w->hops;
  }
  w->over.store(true, std::memory_order_release);
  weft_jump(w->host.load(std::memory_order_relaxed));
}

UNSEEN void host_thread(wanderer* w) {
  context mine;
  int idle = 0;
  while (!w->over.load(std::memory_order_acquire)) {
    std::uint64_t one = 1;
    std::uint32_t small_one = 1;
    const bool got =
        __atomic_compare_exchange_n(&w->word, &one, std::uint64_t{0}, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ||
        __atomic_compare_exchange_n(&w->small_word, &small_one, 0U, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
    if (!got) {
      if (++idle % 64 == 0) std::this_thread::yield();
      continue;
    }
    w->host.store(&mine, std::memory_order_relaxed);
    weft_switch(&mine, &w->self);
    for (int i = 0; i < 4; ++i) cpu_relax();  // the other thread's turn
  }
}

TEST(arch_switch, a_context_may_be_resumed_by_another_thread_the_moment_it_is_published) {
  stack st;
  auto w = std::make_unique<wanderer>();
  w->wanted = static_cast<std::uint64_t>(weft_test::scaled(1'000'000));
  arch::make_first_frame(w->self, st.top(), wanderer_main, w.get());
  w->word = 1;
  std::thread a(host_thread, w.get());
  std::thread b(host_thread, w.get());
  a.join();
  b.join();
  EXPECT_EQ(w->hops, w->wanted);
  EXPECT_EQ(w->bad, 0u);
  EXPECT_EQ(w->done, 0u);
  std::printf("%llu of %llu hops changed the thread\n", static_cast<unsigned long long>(w->threads_changed),
              static_cast<unsigned long long>(w->hops));
}

#if defined(WEFT_SAVE_FPENV)
struct rounding {
  spot main;
  spot other;
  switcher s;
  int seen = -1;
  form f = form::plain;
};

UNSEEN void round_upwards(void* arg) {
  auto* r = static_cast<rounding*>(arg);
  r->seen = std::fegetround();  // a fresh context starts with the default
  std::fesetround(FE_UPWARD);
  unseen_rand rand(6);
  for (;;) {
    (void)switch_with_patterns(r->f, &r->other, &r->main, r->s, rand);
    r->seen = std::fegetround();
  }
}

TEST(arch_switch, each_context_keeps_its_rounding_mode) {
  for (const form f : all_forms) {
    stack st;
    rounding r;
    r.f = f;
    arch::make_first_frame(r.other, st.top(), round_upwards, &r);
    std::fesetround(FE_DOWNWARD);
    unseen_rand rand(7);
    (void)switch_with_patterns(f, &r.main, &r.other, r.s, rand);
    EXPECT_EQ(r.seen, FE_TONEAREST);
    for (int i = 0; i < 10; ++i) {
      EXPECT_EQ(std::fegetround(), FE_DOWNWARD) << name_of(f);
      (void)switch_with_patterns(f, &r.main, &r.other, r.s, rand);
      EXPECT_EQ(r.seen, FE_UPWARD) << name_of(f);
    }
    std::fesetround(FE_TONEAREST);
  }
}
#else
TEST(arch_switch, each_context_keeps_its_rounding_mode) { GTEST_SKIP() << "only with -Dsave_fpenv=true"; }
#endif

}  // namespace
}  // namespace weft

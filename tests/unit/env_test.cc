// SPDX-License-Identifier: MIT
#include "runtime/base/env.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <stdexcept>
#include <string>

#include "runtime/os/thread.h"

namespace weft {
namespace {

class env : public ::testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name : {"WEFT_PROCS", "GOMAXPROCS", "WEFT_STACK_SIZE", "WEFT_CHAOS", "WEFT_PACK_AFTER"})
      ::unsetenv(name);
  }
  static void set(const char* name, const char* value) { ::setenv(name, value, 1); }
  // The text of the error, "" if there was none.
  static std::string error(int procs = 0, std::size_t stack = 0) {
    try {
      (void)resolve_settings(procs, stack);
      return "";
    } catch (const std::invalid_argument& e) {
      return e.what();
    }
  }
};

TEST_F(env, defaults_are_the_cpus_64_kib_and_no_chaos) {
  const settings s = resolve_settings(0, 0);
  EXPECT_EQ(s.procs, os::num_cpus());
  EXPECT_EQ(s.stack_size, 64u << 10);
  EXPECT_EQ(s.chaos_seed, 0u);
}

TEST_F(env, an_option_beats_weft_procs_beats_gomaxprocs) {
  set("GOMAXPROCS", "3");
  EXPECT_EQ(resolve_settings(0, 0).procs, 3);
  set("WEFT_PROCS", "4");
  EXPECT_EQ(resolve_settings(0, 0).procs, 4);
  EXPECT_EQ(resolve_settings(5, 0).procs, 5);
}

TEST_F(env, what_is_overruled_is_not_looked_at) {
  set("WEFT_PROCS", "4");
  set("GOMAXPROCS", "rubbish");
  EXPECT_EQ(resolve_settings(0, 0).procs, 4);
  set("WEFT_PROCS", "rubbish");
  EXPECT_EQ(resolve_settings(5, 0).procs, 5);
}

TEST_F(env, stacks_are_packed_after_some_milliseconds_or_never) {
  EXPECT_EQ(resolve_settings(0, 0).pack_after_ms, 0);
  set("WEFT_PACK_AFTER", "250");
  EXPECT_EQ(resolve_settings(0, 0).pack_after_ms, 250);
  EXPECT_EQ(resolve_settings(0, 0, 1'000).pack_after_ms, 1'000);
  for (const char* bad : {"0", "3600001", "1s", "-5"}) {
    set("WEFT_PACK_AFTER", bad);
    EXPECT_EQ(error(),
              std::string("weft: WEFT_PACK_AFTER=") + bad + ": expected a number of milliseconds from 1 to 3600000");
  }
}

TEST_F(env, an_empty_variable_is_not_set) {
  set("WEFT_PROCS", "");
  set("GOMAXPROCS", "2");
  set("WEFT_STACK_SIZE", "");
  EXPECT_EQ(resolve_settings(0, 0).procs, 2);
  EXPECT_EQ(resolve_settings(0, 0).stack_size, 64u << 10);
}

TEST_F(env, every_bad_number_of_procs_names_variable_value_and_range) {
  for (const char* bad :
       {"0", "1025", "-1", "+4", "x", "4x", " 4", "4 ", "4.0", "1e3", "0x10", "4K", "99999999999999999999"}) {
    set("WEFT_PROCS", bad);
    EXPECT_EQ(error(), std::string("weft: WEFT_PROCS=") + bad + ": expected a number from 1 to 1024");
  }
  clear();
  set("GOMAXPROCS", "no");
  EXPECT_EQ(error(), "weft: GOMAXPROCS=no: expected a number from 1 to 1024");
}

TEST_F(env, both_ends_of_the_procs_range_are_in_it) {
  set("WEFT_PROCS", "1");
  EXPECT_EQ(resolve_settings(0, 0).procs, 1);
  set("WEFT_PROCS", "1024");
  EXPECT_EQ(resolve_settings(0, 0).procs, 1024);
  EXPECT_EQ(resolve_settings(1024, 0).procs, 1024);
}

TEST_F(env, a_bad_option_names_the_option) {
  EXPECT_EQ(error(-2), "weft: option procs=-2: expected a number from 1 to 1024");
  EXPECT_EQ(error(1025), "weft: option procs=1025: expected a number from 1 to 1024");
  EXPECT_EQ(error(0, 100).rfind("weft: option stack_size=100: expected a number of bytes from 16K to 1024M", 0), 0u);
  EXPECT_NE(error(0, SIZE_MAX), "");
  EXPECT_NE(error(0, (std::size_t{1} << 30) + 1), "");
}

TEST_F(env, stack_sizes_take_suffixes) {
  const struct {
    const char* text;
    std::size_t bytes;
  } good[] = {{"16384", 16384}, {"16K", 16384},     {"17000", 17000},
              {"1M", 1 << 20},  {"1024M", 1 << 30}, {"1048576K", 1 << 30}};
  for (const auto& g : good) {
    set("WEFT_STACK_SIZE", g.text);
    EXPECT_EQ(resolve_settings(0, 0).stack_size, g.bytes) << g.text;
  }
  EXPECT_EQ(resolve_settings(0, 20000).stack_size, 20000u);
}

TEST_F(env, every_bad_stack_size_is_refused) {
  for (const char* bad :
       {"0", "16383", "15K", "1025M", "1G", "K", "64k", "64KB", "64 K", "-64K", "18014398509481984K"}) {
    set("WEFT_STACK_SIZE", bad);
    EXPECT_EQ(error().rfind(std::string("weft: WEFT_STACK_SIZE=") + bad + ": expected ", 0), 0u)
        << bad << ": " << error();
  }
}

TEST_F(env, chaos_takes_any_64_bit_seed) {
  set("WEFT_CHAOS", "18446744073709551615");
  EXPECT_EQ(resolve_settings(0, 0).chaos_seed, UINT64_MAX);
  set("WEFT_CHAOS", "18446744073709551616");
  EXPECT_NE(error().find("WEFT_CHAOS=18446744073709551616"), std::string::npos);
}

TEST_F(env, a_goroutines_own_stack_size_is_checked_alike) {
  EXPECT_EQ(resolve_stack_size(0, 12345), 12345u);
  EXPECT_EQ(resolve_stack_size(1 << 20, 12345), 1u << 20);
  EXPECT_THROW((void)resolve_stack_size(1, 12345), std::invalid_argument);
}

}  // namespace
}  // namespace weft

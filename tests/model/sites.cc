// SPDX-License-Identifier: MIT
//
// For tools/mutants: WEFT_SIM_SITES=file makes the model tests write there which test comes by which atomic operations,
// "suite.test<tab>file:line kind orders" a line.

#include <cstdio>
#include <cstdlib>
#include <string>

#include "model.h"

namespace {

class site_listener : public ::testing::EmptyTestEventListener {
  // NOLINTBEGIN(readability-identifier-naming): GoogleTest's names
  void OnTestStart(const ::testing::TestInfo&) override {
    weft::sim::watch_sites(true);
    weft::sim::sites_seen();
  }
  void OnTestEnd(const ::testing::TestInfo& t) override {
    std::FILE* out = std::fopen(std::getenv("WEFT_SIM_SITES"), "a");
    if (!out) return;
    std::string sites = weft::sim::sites_seen();
    for (std::size_t at = 0; at < sites.size();) {
      std::size_t end = sites.find('\n', at);
      std::fprintf(out, "%s.%s\t%s\n", t.test_suite_name(), t.name(), sites.substr(at, end - at).c_str());
      at = end + 1;
    }
    std::fclose(out);
  }
  // NOLINTEND(readability-identifier-naming)
};

const bool listening = [] {
  if (std::getenv("WEFT_SIM_SITES")) ::testing::UnitTest::GetInstance()->listeners().Append(new site_listener);
  return true;
}();

}  // namespace

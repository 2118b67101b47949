// SPDX-License-Identifier: MIT
//
// For tools/mutants: WEFT_SIM_SITES=file makes the model tests write there which test comes by which atomic operations,
// "suite.test<tab>file:line kind orders<tab>times" a line, and how long each test took: "suite.test<tab>seconds".

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include "model.h"

namespace {

class site_listener : public ::testing::EmptyTestEventListener {
  // NOLINTBEGIN(readability-identifier-naming): GoogleTest's names
  void OnTestStart(const ::testing::TestInfo&) override {
    weft::sim::watch_sites(true);
    weft::sim::sites_seen();
    start_ = std::clock();
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
    std::fprintf(out, "%s.%s\t%.3f\n", t.test_suite_name(), t.name(),
                 static_cast<double>(std::clock() - start_) / CLOCKS_PER_SEC);
    std::fclose(out);
  }
  // NOLINTEND(readability-identifier-naming)

 private:
  std::clock_t start_ = 0;
};

const bool listening = [] {
  if (std::getenv("WEFT_SIM_SITES")) ::testing::UnitTest::GetInstance()->listeners().Append(new site_listener);
  return true;
}();

}  // namespace

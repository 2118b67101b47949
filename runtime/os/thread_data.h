// SPDX-License-Identifier: MIT
//
// A pointer per thread for threads that are not the runtime's, with a destructor that runs when the thread ends. Some 5 ns a
// look (pthread_getspecific); Ms use os::self() instead.

#pragma once

namespace weft::os {

class thread_data {
 public:
  // `end` is called with the thread's pointer, unless null, when the thread ends. Throws std::system_error (EAGAIN: no key left).
  explicit thread_data(void (*end)(void*));
  ~thread_data();
  thread_data(const thread_data&) = delete;
  thread_data& operator=(const thread_data&) = delete;
  void* get() const noexcept;
  void set(void* value);  // throws std::system_error (ENOMEM)

 private:
  unsigned key_;
};

}  // namespace weft::os

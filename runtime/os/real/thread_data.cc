// SPDX-License-Identifier: MIT

#include "../thread_data.h"

#include <pthread.h>

#include <system_error>

namespace weft::os {

namespace {

void check(int error, const char* what) {
  if (error != 0) throw std::system_error(error, std::generic_category(), what);
}

}  // namespace

thread_data::thread_data(void (*end)(void*)) : key_(0) {
  check(pthread_key_create(&key_, end), "weft: pthread_key_create");
}

thread_data::~thread_data() { pthread_key_delete(key_); }

void* thread_data::get() const noexcept { return pthread_getspecific(key_); }

void thread_data::set(void* value) { check(pthread_setspecific(key_, value), "weft: pthread_setspecific"); }

}  // namespace weft::os

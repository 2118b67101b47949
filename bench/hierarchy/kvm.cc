// SPDX-License-Identifier: MIT
//
// A virtual machine as small as they come: one page of memory, one virtual CPU in real mode, and a few bytes of program. No
// firmware, no kernel, no device; what is left is what the hardware and KVM ask for every machine: to be built, to be
// entered, and to be left when the guest does something that the host must see (an exit). A machine with an operating system
// in it pays these too, and its own start besides, which is where seconds come from.
//
//   vm.exit_entry   the guest counts and says the number to a port (out); each number is an exit to this program, which
//                   enters again. One operation is one KVM_RUN: a system call, an entry, an exit.
//   vm.pingpong     two such machines, each on a thread of its own, in turns (turns.h, by futex): the asker's guest says its
//                   number, the other thread is woken, its guest says its own, and back. One operation is half of that round,
//                   the switch from one guest to the other.
//   vm.start        from KVM_CREATE_VM until the guest's first instruction (hlt) has come back as an exit. Not inside: opening
//                   /dev/kvm, which is done once, and tearing the machine down.
//
// Every number that a guest says is checked: it is the guest's own counting, so no exit is counted that was none.

#include <fmt/format.h>

#include <memory>

#include "os.h"
#include "row.h"

#if defined(__x86_64__)
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>

#include "../experiments.h"
#include "turns.h"
#endif

namespace bench::hierarchy {
namespace {

#if defined(__x86_64__)

constexpr std::uint64_t guest_memory_at = 0x1000;
constexpr std::size_t guest_memory_size = 0x1000;
constexpr std::uint16_t port = 0x10;

constexpr std::uint8_t counting_program[] = {
    0x40,        // again:  inc %ax
    0xe7, port,  //         out %ax, $0x10
    0xeb, 0xfb,  //         jmp again           5 bytes back from the next instruction
};
static_assert(sizeof counting_program == 5);

constexpr std::uint8_t halting_program[] = {
    0xf4,  // hlt
};

// KVM_RUN's page of shared state.
class run_page {
 public:
  run_page(int vcpu, std::size_t size)
      : size_(size), at_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0)) {
    if (at_ == MAP_FAILED) throw unavailable(errno_text("mmap of the virtual CPU's state"));
  }
  ~run_page() { munmap(at_, size_); }
  run_page(const run_page&) = delete;
  run_page& operator=(const run_page&) = delete;
  const kvm_run& state() const { return *static_cast<const kvm_run*>(at_); }
  const std::byte* bytes() const { return static_cast<const std::byte*>(at_); }

 private:
  std::size_t size_;
  void* at_;
};

// /dev/kvm, and memory that guests can be given. Outlives them.
class host {
 public:
  host() : kvm_(open("/dev/kvm", O_RDWR | O_CLOEXEC)) {
    checked(kvm_.get(), "/dev/kvm");
    const int version = ioctl(kvm_.get(), KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
      throw unavailable(fmt::format("/dev/kvm speaks version {}, not {}", version, KVM_API_VERSION));
    if (ioctl(kvm_.get(), KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) <= 0) {
      throw unavailable("/dev/kvm takes no memory from programs (KVM_CAP_USER_MEMORY)");
    }
    state_size_ =
        static_cast<std::size_t>(checked(ioctl(kvm_.get(), KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE"));
  }
  int get() const { return kvm_.get(); }
  std::size_t state_size() const { return state_size_; }

 private:
  fd kvm_;
  std::size_t state_size_ = 0;
};

class guest {
 public:
  template <std::size_t Size>
  guest(const host& h, shared_memory& memory, const std::uint8_t (&program)[Size])
      : machine_(static_cast<int>(checked(ioctl(h.get(), KVM_CREATE_VM, 0), "KVM_CREATE_VM"))) {
    static_assert(Size <= guest_memory_size);
    std::memcpy(memory.get(), program, Size);
    // Where Intel's processors without "unrestricted guest" keep what they need for real mode: three pages just below 4 GiB,
    // away from all that a guest uses.
    checked(ioctl(machine_.get(), KVM_SET_TSS_ADDR, 0xfffbd000UL), "KVM_SET_TSS_ADDR");
    kvm_userspace_memory_region region{};
    region.guest_phys_addr = guest_memory_at;
    region.memory_size = guest_memory_size;
    region.userspace_addr = reinterpret_cast<std::uint64_t>(memory.get());
    checked(ioctl(machine_.get(), KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");

    cpu_ = fd(static_cast<int>(checked(ioctl(machine_.get(), KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU")));
    state_ = std::make_unique<run_page>(cpu_.get(), h.state_size());

    // As a processor comes out of reset, except for where it begins: code segment 0, at the program.
    kvm_sregs segments{};
    checked(ioctl(cpu_.get(), KVM_GET_SREGS, &segments), "KVM_GET_SREGS");
    segments.cs.base = 0;
    segments.cs.selector = 0;
    checked(ioctl(cpu_.get(), KVM_SET_SREGS, &segments), "KVM_SET_SREGS");
    kvm_regs registers{};
    registers.rip = guest_memory_at;
    registers.rflags = 2;  // the bit that is always set
    checked(ioctl(cpu_.get(), KVM_SET_REGS, &registers), "KVM_SET_REGS");
  }

  /// Until the guest's next exit that is meant for us.
  const kvm_run& enter() {
    while (ioctl(cpu_.get(), KVM_RUN, 0) != 0) {
      if (errno != EINTR && errno != EAGAIN) throw unavailable(errno_text("KVM_RUN"));
    }
    return state_->state();
  }

  /// Enters, and checks that the guest says the number that is due.
  void say_next() {
    const kvm_run& state = enter();
    if (state.exit_reason != KVM_EXIT_IO || state.io.direction != KVM_EXIT_IO_OUT || state.io.port != port ||
        state.io.size != sizeof said_ || state.io.count != 1) {
      throw unavailable(fmt::format("the guest left for another reason than its out: {}", state.exit_reason));
    }
    std::uint16_t number = 0;
    std::memcpy(&number, state_->bytes() + state.io.data_offset, sizeof number);
    if (++said_ != number) throw unavailable(fmt::format("the guest said {} where {} was due", number, said_));
  }

 private:
  fd machine_, cpu_;
  std::unique_ptr<run_page> state_;
  std::uint16_t said_ = 0;
};

class counting_guest {
 public:
  explicit counting_guest(const host& h) : guest_(h, memory_, counting_program) {}
  void say_next() { guest_.say_next(); }

 private:
  shared_memory memory_{guest_memory_size};
  guest guest_;
};

class exit_and_entry final : public experiment {
 public:
  double run(std::int64_t n) override {
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < n; ++i) guest_.say_next();
    return static_cast<double>(watch.elapsed().count()) / static_cast<double>(n);
  }

 private:
  host host_;
  counting_guest guest_{host_};
};

// A virtual CPU belongs to the thread that made it, so each thread makes its own.
class two_guests final : public experiment {
 public:
  explicit two_guests(const two_cpus& where) {
    detail = where.text;
    pin_to(where.second);  // which the new thread inherits
    other_ = std::thread([this] { answer_with_guest(); });
    pin_to(where.first);
    try {
      while (turns_.wait_for(asker) && !ready_.load()) std::this_thread::yield();
      if (!failure_.empty()) throw unavailable(failure_);
      mine_ = std::make_unique<counting_guest>(host_);
    } catch (...) {
      turns_.end();
      other_.join();
      throw;
    }
  }
  ~two_guests() override {
    turns_.end();
    other_.join();
  }

  double run(std::int64_t n) override {
    const std::int64_t rounds = n / 2 + 1;
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < rounds; ++i) {
      mine_->say_next();
      turns_.hand_to(answerer);
      if (!turns_.wait_for(asker)) throw unavailable(failure_);
    }
    return static_cast<double>(watch.elapsed().count()) / static_cast<double>(2 * rounds);
  }

 private:
  void answer_with_guest() {
    try {
      counting_guest theirs(host_);
      ready_.store(true);
      while (turns_.wait_for(answerer)) {
        theirs.say_next();
        turns_.hand_to(asker);
      }
    } catch (const std::exception& e) {
      failure_ = e.what();
      ready_.store(true);
      turns_.end();
    }
  }

  host host_;
  futex_turns<futex_scope::one_process> turns_;
  std::string failure_;  // written before turns_ ends, read after
  std::atomic<bool> ready_{false};
  std::unique_ptr<counting_guest> mine_;
  std::thread other_;
};

class cold_start final : public experiment {
 public:
  double run(std::int64_t n) override {
    std::chrono::nanoseconds total{0};
    for (std::int64_t i = 0; i < n; ++i) {
      const bench::stopwatch watch;
      guest g(host_, memory_, halting_program);
      const kvm_run& state = g.enter();
      total += watch.elapsed();
      if (state.exit_reason != KVM_EXIT_HLT) {
        throw unavailable(fmt::format("the guest left for another reason than its hlt: {}", state.exit_reason));
      }
    }
    return static_cast<double>(total.count()) / static_cast<double>(n);
  }

 private:
  host host_;
  shared_memory memory_{guest_memory_size};
};

std::unique_ptr<experiment> exits(const setup&) { return std::make_unique<exit_and_entry>(); }
template <two_cpus (*Where)()>
std::unique_ptr<experiment> guests(const setup&) {
  return std::make_unique<two_guests>(Where());
}
std::unique_ptr<experiment> starts(const setup&) { return std::make_unique<cold_start>(); }

#else

std::unique_ptr<experiment> exits(const setup&) {
  throw unavailable("the guests' programs are written for x86-64's real mode");
}
constexpr auto starts = exits;
template <two_cpus (*Where)()>
std::unique_ptr<experiment> guests(const setup& s) {
  return exits(s);
}

#endif

}  // namespace

rows virtual_machine_rows() {
  const char* const level = isolation::machine;
  return {
      {"vm.exit_entry", "a KVM guest's out to this program and back in, one KVM_RUN", level, usual_batch, exits},
      {"vm.pingpong.same_core", "two KVM guests on two threads, a futex between these; half a round trip", level,
       long_batch, guests<same_core>},
      {"vm.pingpong.cross_core", "two KVM guests on two threads, a futex between these; half a round trip", level,
       long_batch, guests<cross_core>},
      {"vm.start",
       "KVM_CREATE_VM to the exit of the guest's first instruction; no firmware and no kernel, which a VM's 1-5 s "
       "include",
       level, one_by_one, starts},
  };
}

}  // namespace bench::hierarchy

// SPDX-License-Identifier: MIT
//
// The door to the kernel, and what waits behind it: a call that does nothing; a page read from and written to the page
// cache; a write that is on the disk when it returns; and the cure for many small ones.

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "../experiments.h"
#include "os.h"
#include "row.h"

namespace bench::hierarchy {
namespace {

double ns_per(const bench::stopwatch& watch, std::int64_t n) {
  return static_cast<double>(watch.elapsed().count()) / static_cast<double>(n);
}

class empty_call final : public experiment {
 public:
  empty_call() { pin_to(home_cpu()); }

  double run(std::int64_t n) override {
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < n; ++i) syscall(SYS_getppid);
    return ns_per(watch, n);
  }
};

constexpr std::size_t page = 4096;

// A file that has no name, so that nothing is left of it. 64 pages, all of them written once before anything is measured.
class nameless_file {
 public:
  explicit nameless_file(const std::string& folder) : folder_(folder) {
    file_ = fd(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file_) {  // not every file system has it
      std::string name = folder + "/file-XXXXXX";
      file_ = fd(mkostemp(name.data(), O_CLOEXEC));
      checked(file_.get(), fmt::format("a file in {}", folder));
      unlink(name.c_str());
    }
    const std::vector<std::byte> zeros(pages * page);
    if (pwrite(file_.get(), zeros.data(), zeros.size(), 0) != static_cast<ssize_t>(zeros.size())) {
      throw unavailable(errno_text(fmt::format("writing a file in {}", folder)));
    }
    checked(fsync(file_.get()), "fsync");
  }

  int get() const { return file_.get(); }
  off_t next() { return static_cast<off_t>(turn_++ % pages * page); }

  bool in_memory_only() const { return type() == TMPFS_MAGIC || type() == RAMFS_MAGIC; }
  std::string file_system() const {
    switch (type()) {
      case EXT4_SUPER_MAGIC:
        return "ext2, ext3 or ext4";
      case TMPFS_MAGIC:
        return "tmpfs";
      case XFS_SUPER_MAGIC:
        return "xfs";
      case BTRFS_SUPER_MAGIC:
        return "btrfs";
      case OVERLAYFS_SUPER_MAGIC:
        return "overlayfs";
      default:
        return fmt::format("file system {:#x}", type());
    }
  }

 private:
  static constexpr std::size_t pages = 64;

  std::int64_t type() const {
    struct statfs f {};
    checked(fstatfs(file_.get(), &f), fmt::format("statfs of {}", folder_));
    return static_cast<std::int64_t>(f.f_type);
  }

  std::string folder_;
  fd file_;
  std::size_t turn_ = 0;
};

class page_in_file : public experiment {
 public:
  explicit page_in_file(const setup& s) : file_(s.files) {
    pin_to(home_cpu());
    detail = file_.file_system();
  }

  double run(std::int64_t n) override {
    const bench::stopwatch watch;
    for (std::int64_t i = 0; i < n; ++i) {
      if (!once()) throw std::runtime_error(errno_text("the file"));
    }
    return ns_per(watch, n);
  }

 protected:
  virtual bool once() = 0;

  nameless_file file_;
  std::byte buffer_[page]{};
};

class reading final : public page_in_file {
 public:
  using page_in_file::page_in_file;

 private:
  bool once() override { return pread(file_.get(), buffer_, page, file_.next()) == page; }
};

class writing final : public page_in_file {
 public:
  using page_in_file::page_in_file;

 private:
  bool once() override { return pwrite(file_.get(), buffer_, page, file_.next()) == page; }
};

class writing_through final : public page_in_file {
 public:
  explicit writing_through(const setup& s) : page_in_file(s) {
    if (file_.in_memory_only()) {
      throw unavailable(fmt::format("{} has no disk to wait for; name a folder on one with --dir", detail));
    }
    syncfs(file_.get());  // what others have written before shall not be waited for
  }

 private:
  bool once() override { return pwrite(file_.get(), buffer_, page, file_.next()) == page && fsync(file_.get()) == 0; }
};

constexpr std::size_t record = 64;

class writing_records final : public page_in_file {
 public:
  using page_in_file::page_in_file;

 private:
  bool once() override {
    if (filled_ == page / record) filled_ = 0;
    if (filled_ == 0) at_ = file_.next();
    return pwrite(file_.get(), buffer_, record, at_ + static_cast<off_t>(record * filled_++)) == record;
  }

  std::size_t filled_ = 0;
  off_t at_ = 0;
};

class buffering_records final : public page_in_file {
 public:
  using page_in_file::page_in_file;

 private:
  bool once() override {
    std::byte* const at = buffer_ + record * filled_;
    std::copy(std::begin(record_), std::end(record_), at);
    asm volatile("" ::"r"(at) : "memory");  // each record is really put there
    if (++filled_ < page / record) return true;
    filled_ = 0;
    return pwrite(file_.get(), buffer_, page, file_.next()) == page;
  }

  std::byte record_[record]{};
  std::size_t filled_ = 0;
};

template <class Experiment>
std::unique_ptr<experiment> in_folder(const setup& s) {
  return std::make_unique<Experiment>(s);
}

}  // namespace

rows syscall_and_file_rows() {
  return {
      {"syscall.empty", "getppid by syscall(2): in and out of the kernel", isolation::kernel, usual_batch,
       [](const setup&) { return std::make_unique<empty_call>(); }},
      {"file.read_4k", "pread of 4 KiB that are in the page cache", isolation::kernel, usual_batch, in_folder<reading>},
      {"file.write_4k", "pwrite of 4 KiB over others in the page cache", isolation::kernel, usual_batch,
       in_folder<writing>},
      {"file.write_4k_fsync", "pwrite of 4 KiB, then fsync: as durable as file system and disk make it",
       isolation::kernel, one_by_one, in_folder<writing_through>},
      {"file.write_64b", "pwrite of 64 bytes over others in the page cache", isolation::kernel, usual_batch,
       in_folder<writing_records>},
      {"file.write_64b_buffered", "64 bytes copied to a buffer of 4 KiB, which is written when full", isolation::kernel,
       usual_batch, in_folder<buffering_records>},
  };
}

}  // namespace bench::hierarchy

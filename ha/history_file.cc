// A History on disk.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "base/descriptor.h"
#include "base/log.h"
#include "ha/history.h"

namespace itgtd::ha {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr unsigned kTicksOfPeriod = 10;

/// Not synced: a history that is a second old after a power loss is worth more than a control thread that
/// waits for a disk. The rename keeps it whole.
Result<void> replace_file(const std::string& path, std::string_view text) {
  const std::string fresh = path + ".new";
  const Descriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640));
  if (!file.ok()) return Error{errno, "can't write " + fresh};
  while (!text.empty()) {
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Error{errno, "can't write " + fresh};
    text.remove_prefix(static_cast<size_t>(written));
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return Error{errno, "can't replace " + path};
  return {};
}

}  // namespace

HistoryFile::HistoryFile(control::EventLoop& loop, History& history, std::string path,
                         std::function<void()> watch)
    : loop_(loop), history_(history), path_(std::move(path)), watch_(std::move(watch)) {
  arm();
}

HistoryFile::~HistoryFile() {
  save();
}

Result<void> HistoryFile::load() {
  const Descriptor file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.ok()) return errno == ENOENT ? Result<void>() : Error{errno, "can't read " + path_};
  std::string text;
  std::array<char, 65536> part;
  ssize_t got = 0;
  while ((got = ::read(file.get(), part.data(), part.size())) > 0)
    text.append(part.data(), static_cast<size_t>(got));
  if (got < 0) return Error{errno, "can't read " + path_};
  const Result<void> read = history_.from_json(text);
  saved_version_ = history_.version();
  if (read) return {};
  const std::string aside = path_ + ".bad";
  if (::rename(path_.c_str(), aside.c_str()) != 0) return Error{errno, "can't set aside " + path_};
  return Error{0, path_ + " is no history (" + read.error().message + "): set aside as " + aside +
                      "; the history begins anew"};
}

void HistoryFile::arm() {
  timer_ = loop_.timer(kTick, [this] {
    on_tick();
    arm();
  });
}

void HistoryFile::on_tick() {
  const bool due = ++ticks_ >= kTicksOfPeriod;
  if (watch_ && (due || history_.pending())) watch_();
  if (!due) return;
  ticks_ = 0;
  save();
}

void HistoryFile::save() {
  if (saved_version_ == history_.version()) return;
  const Result<void> written = replace_file(path_, history_.to_json());
  if (written) {
    saved_version_ = history_.version();
  } else if (!failing_) {
    log::warning("history: {}; tried again every second", written.error().to_string());
  }
  failing_ = !written.ok();
}

}  // namespace itgtd::ha

#include "ha/adapters/shared_storage.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace itgtd::ha {

SharedStorage::SharedStorage(control::EventLoop& loop,
                             std::function<void(const std::string& group, const StorageFacts&)> on_change)
    : loop_(loop), on_change_(std::move(on_change)) {}

StorageFacts SharedStorage::look_at(const std::vector<std::string>& paths) {
  StorageFacts facts;
  facts.role = "-";
  facts.disk = "-";
  facts.fitness = StorageFitness::usable;
  // Not opened: that may take as long as a disk hangs, and the start of the service will say it.
  for (const std::string& path : paths) {
    struct stat status {};
    const bool there = ::stat(path.c_str(), &status) == 0;
    const int code = there ? EINVAL : errno;
    if (there && (S_ISBLK(status.st_mode) || S_ISREG(status.st_mode))) continue;
    facts.fitness = StorageFitness::unusable;
    facts.detail = there ? fmt::format("{} is neither a block device nor a file", path)
                         : fmt::format("{}: {}; attach the disk to this node", path, std::strerror(code));
    break;
  }
  return facts;
}

void SharedStorage::follow(const std::string& group, std::vector<std::string> paths) {
  if (paths.empty()) {
    groups_.erase(group);
  } else {
    Followed& followed = groups_[group];
    followed.paths = std::move(paths);
    followed.facts = look_at(followed.paths);
    on_change_(group, followed.facts);
  }
  if (!groups_.empty() && !timer_) timer_ = loop_.timer(kLookTime, [this] { look(); });
}

void SharedStorage::look() {
  for (auto& [name, followed] : groups_) {
    StorageFacts facts = look_at(followed.paths);
    if (facts == followed.facts) continue;
    followed.facts = std::move(facts);
    on_change_(name, followed.facts);
  }
  timer_ = groups_.empty() ? control::Subscription() : loop_.timer(kLookTime, [this] { look(); });
}

}  // namespace itgtd::ha

// Disks that every node sees: whether they are there. Translates, decides nothing. Control thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ha/core/types.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

class SharedStorage {
 public:
  /// `on_change`: the facts of a followed group, at first and whenever they change; looked at every
  /// kLookTime.
  SharedStorage(control::EventLoop& loop,
                std::function<void(const std::string& group, const StorageFacts&)> on_change);

  static constexpr std::chrono::milliseconds kLookTime{1000};

  /// The disks of a group; replaces the ones before. None: the group is followed no more.
  void follow(const std::string& group, std::vector<std::string> paths);
  /// As they are now.
  [[nodiscard]] static StorageFacts look_at(const std::vector<std::string>& paths);

 private:
  struct Followed {
    std::vector<std::string> paths;
    StorageFacts facts;
  };
  void look();

  control::EventLoop& loop_;
  std::function<void(const std::string&, const StorageFacts&)> on_change_;
  std::map<std::string, Followed> groups_;
  control::Subscription timer_;
};

}  // namespace itgtd::ha

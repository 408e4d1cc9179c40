// A store in memory that can be told to fail, or to take its time.
#pragma once

#include <cerrno>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "target/lu_store.h"

namespace itgtd::target {

class MemoryLuStore final : public LuStore {
 public:
  Result<std::optional<std::vector<std::byte>>> load(std::string_view name) override {
    if (unreadable) return Error{EIO, "both slots are damaged"};
    const auto found = kept.find(std::string(name));
    if (found == kept.end()) return std::optional<std::vector<std::byte>>{};
    return std::optional(found->second);
  }
  void save(std::string_view name, ConstBytes bytes, std::function<void(Result<void>)> done) override {
    ++saves;
    auto finish = [this, name = std::string(name), copy = std::vector(bytes.begin(), bytes.end()),
                   done = std::move(done)] {
      if (full) {
        done(Error{ENOSPC, "no room"});
        return;
      }
      kept[name] = copy;
      done({});
    };
    if (slow) {
      pending.push_back(std::move(finish));
    } else {
      finish();
    }
  }
  /// Ends the oldest save of a slow store.
  void finish_one() {
    const std::function<void()> finish = std::move(pending.front());
    pending.pop_front();
    finish();
  }

  std::map<std::string, std::vector<std::byte>> kept;
  std::deque<std::function<void()>> pending;
  size_t saves = 0;
  bool unreadable = false;
  bool full = false;
  bool slow = false;
};

}  // namespace itgtd::target

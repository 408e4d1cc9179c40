// Where the state of a group's logical units is kept when the group has a state device.
//
// The device is opened after the storage was promoted and closed before it is demoted. Nothing here blocks
// the control thread: opening and each save run on a thread of their own, one after another.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "target/control/blocking_calls.h"
#include "target/lu_store.h"
#include "target/state_device.h"

namespace itgtd::target {

class DeviceLuStore final : public LuStore {
 public:
  /// `loop` outlives it. A save that hangs when this goes is left to itself, and answered to nobody.
  explicit DeviceLuStore(control::EventLoop& loop) : calls_(loop) {}

  using Done = std::function<void(Result<void>)>;
  /// `done` when load() gives what the units had. An error: the device can't be used, and why.
  void open(const StateDevice::Options& options, Done done);
  /// What is waiting to be saved ends with an error; `done` when the device is closed, which takes as long as
  /// a write that has begun.
  void close(std::function<void()> done);
  /// False exactly when the device is held open by nobody here.
  [[nodiscard]] bool is_open() const { return busy_ || device_ != nullptr; }

  Result<std::optional<Value>> load(std::string_view name) override;
  void save(std::string_view name, ConstBytes bytes, SaveDone done) override;

 private:
  struct Save {
    std::string name;
    Value value;
    SaveDone done;
  };
  void save_next();
  void on_saved(const Result<void>& result);
  void end_close();

  control::BlockingCalls calls_;
  /// Owners: this and the call that works with it.
  std::shared_ptr<StateDevice> device_;
  std::map<std::string, Value, std::less<>> values_;  ///< what load() gives
  std::deque<Save> saves_;                            ///< the first one is being written when `busy_`
  bool busy_ = false;                                 ///< a call opens, writes or closes the device
  bool ready_ = false;                                ///< between open() and close()
  uint64_t turn_ = 0;  ///< of open() and close(): a late end of an earlier one is void
  std::vector<std::function<void()>> closing_;
  /// Callbacks that come when this is gone find it expired; this is its one owner.
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace itgtd::target

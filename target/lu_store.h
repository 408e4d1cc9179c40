// Where what must survive of logical units is kept: an interface, and files.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "target/slot_format.h"

namespace itgtd::target {

/// The name of a logical unit in its store, by its NAA designator: WWIDs are unique in a configuration, and
/// equal on every node.
[[nodiscard]] std::string stored_name(const std::array<uint8_t, 16>& naa);

/// Where what must survive of a logical unit is kept. Control thread.
class LuStore {
 public:
  using Value = std::vector<std::byte>;
  using SaveDone = std::function<void(Result<void>)>;

  LuStore() = default;
  virtual ~LuStore();
  LuStore(const LuStore&) = delete;
  LuStore& operator=(const LuStore&) = delete;

  /// Nothing was ever saved: an empty optional. An error: what was saved can't be trusted; the unit must not
  /// be served.
  virtual Result<std::optional<Value>> load(std::string_view name) = 0;
  /// `done` comes when the bytes are durable, or with what went wrong; perhaps before this returns, perhaps
  /// much later (a replicated store). After an error either value may be found by the next load(): the one
  /// before, or this one.
  virtual void save(std::string_view name, ConstBytes bytes, SaveDone done) = 0;
};

/// A file for each logical unit: DIRECTORY/units/NAME.state, in the format of target/slot_format.h.
/// Everything is done before the calls return: two writes and a flush of the disk.
class FileLuStore final : public LuStore {
 public:
  /// `directory` and what belongs in it are made by the first save.
  explicit FileLuStore(std::string directory);

  /// `name`: digits and small letters, as the hexadecimal digits of a designator.
  Result<std::optional<Value>> load(std::string_view name) override;
  void save(std::string_view name, ConstBytes bytes, SaveDone done) override;
  /// Of everything that was saved.
  [[nodiscard]] Result<std::vector<std::string>> names() const;

 private:
  [[nodiscard]] std::string path_of(std::string_view name) const;
  [[nodiscard]] Result<std::optional<Slot>> read(const std::string& path) const;
  [[nodiscard]] Result<void> write(std::string_view name, ConstBytes bytes);
  [[nodiscard]] Result<void> create(const std::string& path, const SlotWrite& first) const;

  std::string directory_;
  std::string units_;
  /// Where the newest slot of each file is; its payload is not kept. Nothing: there is no file.
  std::map<std::string, std::optional<Slot>, std::less<>> newest_;
};

}  // namespace itgtd::target

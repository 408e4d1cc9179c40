// corosync's settings and node list (libcmap), for corosync.cc.
#pragma once

#include <corosync/cmap.h>
#include <corosync/corotypes.h>

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "ha/adapters/corosync.h"

namespace itgtd::ha {

/// "CS_ERR_LIBRARY (2)", as corosync's manual pages name them.
[[nodiscard]] std::string name_of(cs_error_t error);

/// A connection to the cmap service. Each call asks corosync and waits for its answer.
class Cmap {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Cmap>> connect();
  ~Cmap();
  Cmap(const Cmap&) = delete;
  Cmap& operator=(const Cmap&) = delete;

  [[nodiscard]] Result<CorosyncSettings> settings() const;
  /// `on_change` is called from dispatch(), for each key of the node list that changes.
  [[nodiscard]] Result<void> track_nodes(std::function<void()> on_change);
  /// Readable when dispatch() has something to do.
  [[nodiscard]] Result<int> fd() const;
  [[nodiscard]] cs_error_t dispatch() const;

 private:
  explicit Cmap(cmap_handle_t handle) : handle_(handle) {}

  cmap_handle_t handle_;
  std::function<void()> on_change_;
};

}  // namespace itgtd::ha

// One connection to corosync: its process groups, quorum and settings, for corosync.cc.
//
// Making and ending it, and reading the settings, ask corosync and wait for its answers, for as long as it
// hangs (libqb: without a limit): not for the control thread. What has been made is dispatched there.
#pragma once

#include <corosync/cpg.h>
#include <corosync/quorum.h>

#include <functional>
#include <memory>
#include <optional>

#include "base/result.h"
#include "ha/adapters/corosync_cmap.h"

namespace itgtd::ha {

/// What the libraries call, from within a dispatch only.
struct CorosyncCallbacks {
  cpg_model_v1_data_t cpg{};
  quorum_model_v1_data_t quorum{};
  void* context = nullptr;  ///< of both handles
  std::function<void()> nodes_changed;
};

class CorosyncConnection {
 public:
  /// The group is joined last, when all that it needs is there.
  [[nodiscard]] static Result<std::unique_ptr<CorosyncConnection>> make(const CorosyncCallbacks& callbacks,
                                                                        const cpg_name& group);
  ~CorosyncConnection();
  CorosyncConnection(const CorosyncConnection&) = delete;
  CorosyncConnection& operator=(const CorosyncConnection&) = delete;

  /// The others see it at once, and not as a process that ended.
  void leave(const cpg_name& group) const;

  [[nodiscard]] const CorosyncSettings& settings() const { return settings_; }
  [[nodiscard]] cpg_handle_t cpg() const { return *cpg_; }
  [[nodiscard]] quorum_handle_t quorum() const { return *quorum_; }
  [[nodiscard]] const Cmap& cmap() const { return *cmap_; }
  /// Readable when there is something to dispatch.
  [[nodiscard]] int cpg_fd() const { return cpg_fd_; }
  [[nodiscard]] int quorum_fd() const { return quorum_fd_; }
  [[nodiscard]] int cmap_fd() const { return cmap_fd_; }

 private:
  CorosyncConnection() = default;
  Result<void> connect_cmap(const CorosyncCallbacks& callbacks);
  Result<void> connect_quorum(const CorosyncCallbacks& callbacks);
  Result<void> connect_cpg(const CorosyncCallbacks& callbacks, const cpg_name& group);

  CorosyncSettings settings_;
  std::unique_ptr<Cmap> cmap_;
  std::optional<quorum_handle_t> quorum_;
  std::optional<cpg_handle_t> cpg_;
  int cmap_fd_ = -1;
  int quorum_fd_ = -1;
  int cpg_fd_ = -1;
};

}  // namespace itgtd::ha

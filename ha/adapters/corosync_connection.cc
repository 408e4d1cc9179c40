#include "ha/adapters/corosync_connection.h"

#include <cerrno>
#include <string>
#include <utility>

namespace itgtd::ha {
namespace {

int code_of(cs_error_t error) {
  return error == CS_ERR_ACCESS || error == CS_ERR_SECURITY ? EACCES : 0;
}

}  // namespace

Result<std::unique_ptr<CorosyncConnection>> CorosyncConnection::make(const CorosyncCallbacks& callbacks,
                                                                     const cpg_name& group) {
  std::unique_ptr<CorosyncConnection> made(new CorosyncConnection);
  if (Result<void> done = made->connect_cmap(callbacks); !done) return done.error();
  if (Result<void> done = made->connect_quorum(callbacks); !done) return done.error();
  if (Result<void> done = made->connect_cpg(callbacks, group); !done) return done.error();
  return made;
}

CorosyncConnection::~CorosyncConnection() {
  if (cpg_) cpg_finalize(*cpg_);
  if (quorum_) quorum_finalize(*quorum_);
}

void CorosyncConnection::leave(const cpg_name& group) const {
  cpg_leave(*cpg_, &group);
}

Result<void> CorosyncConnection::connect_cmap(const CorosyncCallbacks& callbacks) {
  auto made = Cmap::connect();
  if (!made) return made.error();
  cmap_ = std::move(made.value());
  if (Result<void> tracked = cmap_->track_nodes(callbacks.nodes_changed); !tracked) return tracked;
  const Result<int> fd = cmap_->fd();
  if (!fd) return fd.error();
  cmap_fd_ = fd.value();
  Result<CorosyncSettings> settings = cmap_->settings();
  if (!settings) return settings.error();
  settings_ = std::move(settings.value());
  return {};
}

Result<void> CorosyncConnection::connect_quorum(const CorosyncCallbacks& callbacks) {
  quorum_model_v1_data_t model = callbacks.quorum;
  model.model = QUORUM_MODEL_V1;
  quorum_handle_t handle = 0;
  uint32_t type = 0;
  cs_error_t error = quorum_model_initialize(&handle, QUORUM_MODEL_V1,
                                             static_cast<quorum_model_data_t*>(static_cast<void*>(&model)),
                                             &type, callbacks.context);
  if (error != CS_OK) return Error{code_of(error), "corosync's quorum service: " + name_of(error)};
  quorum_ = handle;
  error = quorum_fd_get(handle, &quorum_fd_);
  if (error == CS_OK) error = quorum_trackstart(handle, CS_TRACK_CURRENT | CS_TRACK_CHANGES);
  if (error != CS_OK) return Error{0, "following corosync's quorum: " + name_of(error)};
  return {};
}

Result<void> CorosyncConnection::connect_cpg(const CorosyncCallbacks& callbacks, const cpg_name& group) {
  cpg_model_v1_data_t model = callbacks.cpg;
  model.model = CPG_MODEL_V1;
  model.flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF;
  cpg_handle_t handle = 0;
  cs_error_t error = cpg_model_initialize(
      &handle, CPG_MODEL_V1, static_cast<cpg_model_data_t*>(static_cast<void*>(&model)), callbacks.context);
  if (error != CS_OK) return Error{code_of(error), "corosync's process groups (cpg): " + name_of(error)};
  cpg_ = handle;
  error = cpg_fd_get(handle, &cpg_fd_);
  if (error == CS_OK) error = cpg_join(handle, &group);
  if (error != CS_OK) return Error{0, "joining the process group: " + name_of(error)};
  return {};
}

}  // namespace itgtd::ha

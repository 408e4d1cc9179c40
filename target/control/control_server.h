// The control socket: a unix stream socket that speaks JSON-RPC 2.0, one object a line (json_rpc.h).
//
// Control thread. Never blocks: who does not read its answers is not read from either, and is closed when too
// much has gathered for it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "target/control/event_loop.h"
#include "target/control/json_rpc.h"

namespace itgtd::control {

/// More than one administrator and a monitoring system need; a leak of connections ends here.
constexpr size_t kControlClientsMax = 64;
/// A request is some hundred bytes.
constexpr size_t kControlLineBytesMax = size_t{1} << 20;
/// What may wait for a client that reads slowly: some answers of the largest cluster.
constexpr size_t kControlOutputBytesMax = size_t{8} << 20;
/// Calls of one client that are not answered yet.
constexpr size_t kControlCallsMax = 64;

/// How a handler answers, once, now or later, on the control thread. Copies are one answer. When the last
/// copy goes without an answer, the client gets an internal error. The client or the server may be gone by
/// then: nothing happens.
class Reply {
 public:
  struct Call;
  explicit Reply(std::shared_ptr<Call> call) : call_(std::move(call)) {}
  /// `json`: one JSON value.
  void result(std::string_view json) const;
  void refuse(std::string message) const { error({RpcCode::refused, std::move(message)}); }
  void error(const RpcError& error) const;

 private:
  std::shared_ptr<Call> call_;  ///< owners: the copies of this reply that the handler keeps
};

class ControlServer {
 public:
  using Handler = std::function<void(const Params&, Reply)>;

  /// The loop outlives the server.
  explicit ControlServer(EventLoop& loop);
  /// Closes all connections and removes the socket's file. Not within a handler.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  /// `name` is new. What is not in `parameters` is refused before the handler is called.
  void add(const std::string& name, std::vector<Parameter> parameters, Handler handler);

  /// Listens at `path`: its directory is made, the file has mode 0660. What a dead daemon left there is
  /// replaced; a live one, or a file that is no socket, is an error. Who may call: root, this process's user,
  /// and members of the file's group.
  [[nodiscard]] Result<void> listen(const std::string& path);

  [[nodiscard]] size_t clients() const;

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;  ///< owners: this; replies know it weakly
};

}  // namespace itgtd::control

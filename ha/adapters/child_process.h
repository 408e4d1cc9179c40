// A program that runs beside the control thread, and what it writes. Control thread; never blocks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

/// How a program ended.
struct ExitStatus {
  int status = -1;  ///< exit status; -1: a signal ended it
  int signal = 0;   ///< that signal; 0: none
};

/// One running program, in a process group of its own, with no descriptor of ours but its three: standard
/// input is empty, standard output and error come here. Destroyed, it and its group are killed and it is
/// reaped in the background; no callback is called any more. May be destroyed within its callbacks. The loop
/// outlives it.
class ChildProcess {
 public:
  struct Callbacks {
    std::function<void(std::string_view)> on_output;  ///< as it comes, in pieces; the view lives for the call
    std::function<void(std::string_view)> on_error;
    /// Once, after all that it wrote. Children of the program that still hold its output don't delay it.
    std::function<void(const ExitStatus&)> on_exit;
  };
  /// Starts `arguments`; the first is the program, searched in PATH. An error: it could not be started.
  static Result<std::unique_ptr<ChildProcess>> start(control::EventLoop& loop,
                                                     const std::vector<std::string>& arguments,
                                                     Callbacks callbacks);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Kills it and its process group; on_exit follows when the kernel has let it go.
  void kill();

 private:
  struct Impl;
  explicit ChildProcess(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace itgtd::ha

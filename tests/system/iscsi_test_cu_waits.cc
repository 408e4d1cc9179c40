// A library to preload under iscsi-test-cu 1.19.0, whose ALL.iSCSITMF.LUNResetSimpleAsync queues a LUN RESET
// and, with no turn of its event loop in between, asserts a variable that only the answer to that LUN RESET
// sets: no target can be in time. Here queueing a task management request also waits for its answer, so that
// the rest of the test can run.
//
// And ALL.Sanitize.Reset sleeps for a minute between two looks at whether SANITIZE is over, answers no ping
// of the target meanwhile, loses its session for that, and so finds a unit attention each time it looks,
// without end. Here it sleeps for a second.

#include <dlfcn.h>
#include <poll.h>
#include <time.h>

#include <cstdint>

extern "C" {

struct iscsi_context;
using Callback = void (*)(iscsi_context*, int status, void* command_data, void* private_data);
using TaskManagement = int (*)(iscsi_context*, int lun, int function, uint32_t referenced_task_tag,
                               uint32_t ref_cmd_sn, Callback, void* private_data);

int iscsi_get_fd(iscsi_context*);
int iscsi_which_events(iscsi_context*);
int iscsi_service(iscsi_context*, int events);

namespace {

constexpr unsigned kSleepSecondsMax = 10;
constexpr int kTurnMs = 1000;
constexpr int kTurnsMax = 1000;  // libiscsi's own turns may be short: this ends a wait for nothing

struct Waiting {
  Callback callback;
  void* private_data;
  bool answered;
};

void on_answer(iscsi_context* iscsi, int status, void* command_data, void* private_data) {
  auto* waiting = static_cast<Waiting*>(private_data);
  waiting->answered = true;
  waiting->callback(iscsi, status, command_data, waiting->private_data);
}

}  // namespace

unsigned sleep(unsigned seconds) {
  const timespec time{seconds > kSleepSecondsMax ? 1 : static_cast<time_t>(seconds), 0};
  nanosleep(&time, nullptr);
  return 0;
}

int iscsi_task_mgmt_async(iscsi_context* iscsi, int lun, int function, uint32_t referenced_task_tag,
                          uint32_t ref_cmd_sn, Callback callback, void* private_data) {
  // Not on the stack: an answer may come after this has given up.
  static Waiting waiting;
  waiting = {callback, private_data, false};
  void* found = dlsym(RTLD_NEXT, "iscsi_task_mgmt_async");
  auto* const next = __builtin_bit_cast(TaskManagement, found);
  const int result = next(iscsi, lun, function, referenced_task_tag, ref_cmd_sn, on_answer, &waiting);
  for (int turn = 0; result == 0 && !waiting.answered && turn < kTurnsMax; turn++) {
    pollfd entry{iscsi_get_fd(iscsi), static_cast<int16_t>(iscsi_which_events(iscsi)), 0};
    if (poll(&entry, 1, kTurnMs) <= 0) break;
    if (iscsi_service(iscsi, entry.revents) != 0) break;
  }
  return result;
}

}  // extern "C"

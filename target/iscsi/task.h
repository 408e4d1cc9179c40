// An iSCSI task: one SCSI command between its header and the last byte of its answer.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/intrusive_list.h"
#include "scsi/command.h"
#include "target/iscsi/bhs.h"

namespace itgtd::iscsi {

class Session;
struct OutPdu;
struct ReadyTag;
struct SessionTag;
struct MemoryTag;

enum class TaskState : uint8_t {
  free,
  waiting_memory,  ///< no buffer yet; in the worker's list of those who wait, no R2T sent
  receiving,       ///< data-out is on its way, unsolicited or asked for by R2T
  ready,           ///< in the worker's ready list
  executing,       ///< the SCSI layer, a backend or the writer of shared state has it
  detached,        ///< it goes on without its initiator, who waits for its end; nothing is in flight here
  responding,      ///< its answer is in the send queue
  discarding,      ///< over, but unsolicited data is still to come and thrown away
};

/// From a slab of the worker. `command` and its memory belong to the task from admission to its last PDU.
struct Task : ListLink<ReadyTag>, ListLink<SessionTag>, ListLink<MemoryTag> {
  scsi::Command command;
  Session* session = nullptr;
  TaskState state = TaskState::free;
  /// True exactly when a task management function has ended it while it was executing: nothing is sent when
  /// it is done.
  bool aborted = false;
  uint64_t lun_field = 0;
  uint16_t lun = 0;
  uint32_t initiator_task_tag = kReservedTag;
  uint32_t cmd_sn = 0;
  uint32_t expected_data_transfer_length = 0;
  bool read_flag = false;
  bool write_flag = false;
  /// PDUs of this task that are queued or being sent: its memory is released with the last one.
  uint32_t pdus_outstanding = 0;

  /// True exactly when the status is in the send queue: the initiator may use the tag again from here on.
  bool answered = false;
  /// The worker's: what finish() has to look after (a claim, or that nobody waits for the command); 0:
  /// nothing.
  uint64_t claim = 0;
  /// When the command came, in the session's count of commands and task management functions.
  uint64_t arrival = 0;
  /// The next task in the session's bucket of initiator task tags.
  Task* bucket_next = nullptr;
  /// The PDU for its answer, kept from the start so that an answer is never lost; null while it is in use.
  OutPdu* reserved = nullptr;
  /// The whole of its transfer memory; command.data is its front part.
  Bytes buffer;
  /// What is to be answered: the command's end, or why the session ended it.
  scsi::Done result;

  // Data-out. All offsets count from the start of the command's data.
  /// True exactly when the data that came can't be used: `result` is answered once the initiator has sent the
  /// rest.
  bool failed = false;
  /// True exactly when the command PDU announced unsolicited Data-Out PDUs.
  bool unsolicited_announced = false;
  /// True exactly when unsolicited Data-Out PDUs are still to come.
  bool unsolicited_open = false;
  uint32_t data_out_expected = 0;   ///< bytes that are used: the smaller of what the CDB and the header say
  uint32_t unsolicited_offset = 0;  ///< where the next unsolicited byte goes
  uint32_t unsolicited_limit = 0;   ///< end of the first burst
  uint32_t unsolicited_data_sn = 0;
  uint32_t r2t_base = 0;       ///< where the first R2T started
  uint32_t r2t_offset = 0;     ///< where the next R2T starts
  uint32_t r2t_sn = 0;         ///< of the next R2T
  uint32_t burst_sn = 0;       ///< R2TSN of the oldest R2T that is not answered yet; r2t_sn: there is none
  uint32_t burst_offset = 0;   ///< where the next byte of that burst goes
  uint32_t burst_data_sn = 0;  ///< DataSN of its next PDU

  // Data-in.
  uint32_t data_in_bytes = 0;   ///< to send: no more than the initiator expects
  uint32_t data_in_offset = 0;  ///< where the next PDU starts
  uint32_t data_in_sn = 0;
  uint8_t residual_flags = 0;  ///< O or U, as in SCSI Response and Data-In
  uint32_t residual_count = 0;
};

using ReadyList = IntrusiveList<Task, ReadyTag>;
using MemoryWaitList = IntrusiveList<Task, MemoryTag>;

}  // namespace itgtd::iscsi

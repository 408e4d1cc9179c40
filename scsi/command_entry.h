// The row of the command table: everything the target knows about a command, in one place.
//
// From a row come: dispatch, the check of reserved bits with the field pointer of the sense data, reservation
// and readiness checks, and the answer to REPORT SUPPORTED OPERATION CODES (SPC-4 §6.35).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "scsi/command.h"

namespace itgtd::scsi {

/// What a reservation held by another nexus does to the command. SPC-2 §5.5.1, SPC-4 table 65.
enum class ReservationClass : uint8_t {
  allowed,  ///< always runs (INQUIRY, REPORT LUNS, REQUEST SENSE, RELEASE by anybody, ...)
  read,     ///< conflicts with exclusive access
  write,    ///< conflicts with write exclusive and exclusive access
  query,    ///< runs under persistent reservations, conflicts with RESERVE of SPC-2
};

/// Conditions under which a command still runs, or'ed together.
enum CommandFlags : uint16_t {
  kFlagNone = 0,
  kRunsWithUnitAttention = 1,  ///< SAM-5 §5.14: INQUIRY, REPORT LUNS, REQUEST SENSE
  kRunsWhenNotReady = 2,       ///< answers although the medium is not there, stopped or becoming ready
  kRunsWithoutLun = 4,      ///< answers for a LUN that does not exist (INQUIRY, REPORT LUNS, REQUEST SENSE)
  kWritesMedium = 8,        ///< refused with WRITE PROTECTED on a read-only LUN
  kRunsInStandby = 16,      ///< SPC-4 §5.15.2.7
  kRunsInUnavailable = 32,  ///< SPC-4 §5.15.2.8, and offline
  kRunsInTransition = 64,   ///< SPC-4 §5.15.2.9
  /// One Io over exactly the blocks that admit() left in Command::lba and blocks_left. Other commands with a
  /// resume() are taken to touch any block.
  kOneRange = 128,
  /// All its Io are under claims: start() answers a Claim, or an Update before it. Before it writes claimed
  /// blocks it ends the tokens that stand for them (scsi/rod_tokens.h); of others the worker does that.
  kClaims = 256,
  /// Runs although FORMAT UNIT or SANITIZE goes on, or SANITIZE failed; what has kRunsWithUnitAttention does,
  /// too. SBC-3, model clauses on format and sanitize operations.
  kRunsInRewrite = 512,
  kThinOnly = 1024,  ///< a logical unit that is not thin does not know the opcode: admit() says so
};

/// What SPC-4 §5.15.2 wants of every port that is there at all.
inline constexpr uint16_t kRunsInEveryAccessState = kRunsInStandby | kRunsInUnavailable | kRunsInTransition;

inline constexpr uint32_t kNoServiceAction = 0xFFFF'FFFF;

struct CommandEntry {
  std::string_view name;  ///< as the standard writes it
  uint8_t opcode = 0;
  uint32_t service_action = kNoServiceAction;
  uint8_t cdb_bytes = 6;
  DataDirection direction = DataDirection::none;
  ReservationClass reservation = ReservationClass::allowed;
  uint16_t flags = kFlagNone;
  /// Legal bits, from the opcode on. For byte 0 the opcode itself, and for a service action its own value
  /// (SPC-4 §6.35.3).
  std::array<uint8_t, 16> cdb_usage{};
  Admit* admit = nullptr;
  Start* start = nullptr;
  Resume* resume = nullptr;  ///< null when the command does no Io
  /// Told when the command was ended from outside, after start() and before it was Done: it was aborted, or
  /// its session ended. Null: nobody needs to know.
  Aborted* aborted = nullptr;
};

/// The families. Each is a constexpr array in a file of its own; command_table.cc is the only place that
/// lists them.
std::span<const CommandEntry> spc_basic_commands();
std::span<const CommandEntry> spc_inquiry_commands();
std::span<const CommandEntry> spc_mode_commands();
std::span<const CommandEntry> spc_report_commands();
std::span<const CommandEntry> spc_reserve_commands();
std::span<const CommandEntry> spc_alua_commands();
std::span<const CommandEntry> spc_identifying_commands();
std::span<const CommandEntry> spc_persistent_reserve_in_commands();
std::span<const CommandEntry> spc_persistent_reserve_out_commands();
std::span<const CommandEntry> spc_copy_commands();
std::span<const CommandEntry> spc_copy_results_commands();
std::span<const CommandEntry> spc_log_commands();
std::span<const CommandEntry> spc_diagnostic_commands();
std::span<const CommandEntry> spc_rod_token_commands();
std::span<const CommandEntry> spc_rod_token_information_commands();
std::span<const CommandEntry> sbc_capacity_commands();
std::span<const CommandEntry> sbc_read_write_commands();
std::span<const CommandEntry> sbc_cache_commands();
std::span<const CommandEntry> sbc_verify_commands();
std::span<const CommandEntry> sbc_provisioning_commands();
std::span<const CommandEntry> sbc_removal_commands();
std::span<const CommandEntry> sbc_atomic_commands();
std::span<const CommandEntry> sbc_sanitize_commands();
std::span<const CommandEntry> sbc_defect_commands();
std::span<const CommandEntry> sbc_format_commands();

}  // namespace itgtd::scsi

// ROD tokens: blocks of a logical unit as they were when POPULATE TOKEN named them, for WRITE USING TOKEN to
// copy. SPC-4, representations of data (ROD); SBC-3.
//
// A token is a point in time copy - change vulnerable: nothing is copied when it is made, and a write to any
// of its blocks ends it. That is why it is part of the shared state of its logical unit: every worker sees
// it before the command that made it is answered, and takes it away before a write that it stands in the way
// of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/endian.h"
#include "scsi/command.h"
#include "scsi/copy_list.h"
#include "scsi/copy_results.h"
#include "scsi/logical_unit.h"

namespace itgtd::scsi {

/// ROD TYPE.
enum class RodType : uint32_t {
  unspecified = 0,
  point_in_time_default = 0x0080'0000,
  point_in_time_change_vulnerable = 0x0080'0001,  ///< the only type that is made
  point_in_time_any = 0x0080'FFFF,
  block_device_zero = 0xFFFF'0001,  ///< needs no token to be made: zeros, as many as one wants
};

/// Names a token. Random: who has not been given it can't have it.
using RodTokenId = std::array<std::byte, 16>;

struct RodRange {
  uint64_t lba = 0;
  uint64_t blocks = 0;

  [[nodiscard]] uint64_t end() const { return lba + blocks; }
  [[nodiscard]] bool overlaps(const RodRange& other) const {
    return blocks != 0 && other.blocks != 0 && lba < other.end() && other.lba < end();
  }
  bool operator==(const RodRange&) const = default;
};

struct RodToken {
  RodTokenId id{};
  NexusId creator = 0;
  uint64_t ticket = 0;  ///< of the creator's CopyResults
  uint32_t inactivity_timeout_ms = 0;
  uint64_t expires_ms = 0;       ///< since 1970-01-01 UTC; put off whenever the token is used
  std::vector<RodRange> ranges;  ///< in the order in which the data is
  bool operator==(const RodToken&) const = default;

  [[nodiscard]] uint64_t blocks() const;
};

/// Immutable once it is part of a LuState. Never empty there.
struct RodTokens {
  std::vector<RodToken> tokens;  ///< oldest first, at most kRodTokensMax
  /// The blocks of all of them, ascending and apart from each other.
  std::vector<RodRange> covered;
};

/// The last that ended, oldest first, at most kEndedRodTokensMax.
struct EndedRodTokens {
  struct Ended {
    RodTokenId id{};
    Asc why = Asc::token_unknown;
  };
  std::vector<Ended> tokens;
};

/// Null: there is no such token (any more).
[[nodiscard]] const RodToken* find_rod_token(const LuState& state, const RodTokenId& id);
/// What is wrong with a token that is not there: TOKEN REVOKED, EXPIRED, DELETED, CANCELLED or UNKNOWN.
[[nodiscard]] Asc why_ended(const LuState& state, const RodTokenId& id);

/// True exactly when a token stands for one of these blocks: they may be written once on_blocks_written() has
/// been published.
[[nodiscard]] bool overlaps_token(const LuState& state, uint64_t lba, uint64_t blocks);
/// Ends all tokens that stand for one of these blocks.
[[nodiscard]] Decision on_blocks_written(const LuState& state, uint64_t lba, uint64_t blocks);

// Each of these also drops what has expired. The command that asked goes on by resume().

/// Adds a token. When there are kRodTokensMax, the oldest of its creator's makes room for it; when it has
/// none there, the new one is not added.
[[nodiscard]] Decision add_rod_token(const LuState& state, RodToken token, uint64_t time_ms);
/// The token is used: its inactivity timeout begins anew.
[[nodiscard]] Decision touch_rod_token(const LuState& state, const RodTokenId& id, uint64_t time_ms);
[[nodiscard]] Decision delete_rod_token(const LuState& state, const RodTokenId& id, uint64_t time_ms);

/// A token as initiators hold it. SPC-4, ROD token format; SBC-3, ROD token device type specific data.
struct RodTokenWire {
  be32 rod_type;
  uint8_t reserved[2] = {};
  be16 rod_token_length;
  std::array<std::byte, 8> copy_manager_rod_token_identifier{};  ///< the first half of the id
  CscdDescriptor creator;
  be64 number_of_bytes_represented_high;
  be64 number_of_bytes_represented;
  uint8_t reserved_before_data[32] = {};
  be32 logical_block_length_in_bytes;
  uint8_t protection = 0;
  uint8_t logical_blocks_per_physical_block_exponent = 0;
  be16 provisioning_and_lowest_aligned_lba;
  uint8_t reserved_after_data[24] = {};
  std::array<std::byte, 256> target_device_descriptor{};
  RodTokenId id{};  ///< extended ROD token data, to the end
  uint8_t reserved_end[112] = {};
};
static_assert(sizeof(RodTokenWire) == kRodTokenBytes && WireStruct<RodTokenWire>);
inline constexpr uint16_t kRodTokenLength = kRodTokenBytes - 8;

[[nodiscard]] RodTokenWire encode_rod_token(const LogicalUnit& lu, const RodToken& token);

}  // namespace itgtd::scsi

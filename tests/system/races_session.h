// A session of the races: one libiscsi context, used by one thread, one command at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

struct iscsi_context;

namespace races {

using Bytes = std::vector<uint8_t>;

/// What ended a command: all that a scenario wants to know.
struct Outcome {
  uint8_t status = 0xFF;
  uint8_t sense_key = 0;
  uint16_t additional_sense = 0;  // ASC and ASCQ
  Bytes data;

  [[nodiscard]] bool good() const { return status == 0; }
  [[nodiscard]] bool miscompare() const { return status == 2 && sense_key == 0xE; }
  [[nodiscard]] std::string text() const;
};

class Session {
 public:
  /// Logs in; ends the program if that fails: there is nothing to race then.
  Session(const std::string& url, int number);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// BUSY and TASK SET FULL are tried again. Ends the program when the session is lost.
  Outcome command(std::span<const uint8_t> cdb, size_t in_bytes, std::span<const uint8_t> out = {});

  [[nodiscard]] uint32_t block_bytes() const { return block_bytes_; }

  Outcome read(uint64_t lba, uint32_t blocks);
  Outcome write(uint64_t lba, std::span<const uint8_t> data) { return write_like(0x8A, 0, lba, data); }
  Outcome or_write(uint64_t lba, std::span<const uint8_t> data) { return write_like(0x8B, 0, lba, data); }
  /// BYTCHK is 1: what is read back is compared with the data.
  Outcome write_and_verify(uint64_t lba, std::span<const uint8_t> data) {
    return write_like(0x8E, 0x02, lba, data);
  }
  Outcome write_atomic(uint64_t lba, std::span<const uint8_t> data);
  Outcome write_same(uint64_t lba, uint32_t blocks, std::span<const uint8_t> block);
  Outcome unmap(uint64_t lba, uint32_t blocks);
  Outcome compare_and_write(uint64_t lba, std::span<const uint8_t> compare, std::span<const uint8_t> write);
  /// EXTENDED COPY (LID1) of one segment within this logical unit.
  Outcome extended_copy(uint64_t from, uint64_t to, uint16_t blocks);

  /// Whether REPORT SUPPORTED OPERATION CODES has it.
  bool supports(uint8_t opcode, int service_action = -1);
  /// Of the block limits page; 0 when there is none.
  uint32_t block_limit(size_t offset, size_t bytes);

 private:
  Outcome write_like(uint8_t opcode, uint8_t flags, uint64_t lba, std::span<const uint8_t> data);
  Bytes designator();

  iscsi_context* context_;
  int lun_ = 0;
  uint32_t block_bytes_ = 0;
  Bytes designator_;
};

/// Prints why, and ends the program with failure.
[[noreturn]] void fail(const std::string& why);

}  // namespace races

// A SCSI layer of six commands for the tests of sessions. It stands in for scsi/dispatch.h.
#pragma once

#include <cstdint>

#include "scsi/command.h"

namespace itgtd::iscsi::test {

/// CDB: byte 0 the opcode, bytes 2-5 an offset, bytes 6-9 a length, both in bytes, byte 10 see below.
enum FakeOpcode : uint8_t {
  kTestUnitReady = 0x00,
  kFakeRead = 0x28,     ///< moves `length` bytes in, of which byte 10 sixteenths are really there (0: all)
  kFakeWrite = 0x2A,    ///< moves `length` bytes out
  kFakeScratch = 0x93,  ///< moves `length` bytes out and wants 64 KiB of scratch
};

inline constexpr uint32_t kFakeScratchBytes = 64U << 10;

}  // namespace itgtd::iscsi::test

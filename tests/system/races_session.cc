#include "tests/system/races_session.h"

#include <fmt/format.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace races {
namespace {

constexpr int kTimeoutS = 30;
constexpr uint8_t kBusy = 0x08;
constexpr uint8_t kTaskSetFull = 0x28;
constexpr uint8_t kCheckCondition = 0x02;

template <typename Value>
void put(std::span<uint8_t> bytes, size_t at, Value value) {
  for (size_t i = 0; i < sizeof(Value); i++) {
    bytes[at + i] = static_cast<uint8_t>(value >> (8 * (sizeof(Value) - 1 - i)));
  }
}

uint64_t get(std::span<const uint8_t> bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = 0; i < count; i++) value = value << 8 | bytes[at + i];
  return value;
}

/// The sense data behind its length: RFC 7143 §11.4.7.2.
void take_sense(const scsi_task& task, Outcome& outcome) {
  if (task.datain.data == nullptr || task.datain.size < 2 + 14) return;
  const std::span<const uint8_t> sense(task.datain.data + 2, static_cast<size_t>(task.datain.size) - 2);
  const bool descriptor = (sense[0] & 0x7F) >= 0x72;
  outcome.sense_key = (descriptor ? sense[1] : sense[2]) & 0xF;
  outcome.additional_sense = static_cast<uint16_t>(get(sense, descriptor ? 2 : 12, 2));
}

}  // namespace

void fail(const std::string& why) {
  fmt::print("FAILED: {}\n", why);
  std::fflush(stdout);
  std::_Exit(1);
}

std::string Outcome::text() const {
  return fmt::format("status {:02x}h, sense {:x}h/{:04x}h", status, sense_key, additional_sense);
}

Session::Session(const std::string& url, int number)
    : context_(iscsi_create_context(fmt::format("iqn.1993-08.org.debian:01:races-{}", number).c_str())) {
  iscsi_url* parsed = iscsi_parse_full_url(context_, url.c_str());
  if (parsed == nullptr) fail(fmt::format("{}: {}", url, iscsi_get_error(context_)));
  iscsi_set_targetname(context_, static_cast<const char*>(parsed->target));
  iscsi_set_session_type(context_, ISCSI_SESSION_NORMAL);
  iscsi_set_timeout(context_, kTimeoutS);
  iscsi_set_noautoreconnect(context_, 1);
  lun_ = parsed->lun;
  if (iscsi_full_connect_sync(context_, static_cast<const char*>(parsed->portal), lun_) != 0) {
    fail(fmt::format("{}: {}", url, iscsi_get_error(context_)));
  }
  iscsi_destroy_url(parsed);
  std::array<uint8_t, 16> capacity{0x9E, 0x10};
  capacity[13] = 32;
  const Outcome found = command(capacity, 32);
  if (!found.good() || found.data.size() < 12) fail("READ CAPACITY: " + found.text());
  block_bytes_ = static_cast<uint32_t>(get(found.data, 8, 4));
}

Session::~Session() {
  iscsi_logout_sync(context_);
  iscsi_destroy_context(context_);
}

Outcome Session::command(std::span<const uint8_t> cdb, size_t in_bytes, std::span<const uint8_t> out) {
  const auto direction = !out.empty() ? SCSI_XFER_WRITE : in_bytes != 0 ? SCSI_XFER_READ : SCSI_XFER_NONE;
  Bytes copy(out.begin(), out.end());
  for (;;) {
    Bytes bytes(cdb.begin(), cdb.end());
    scsi_task* task = scsi_create_task(static_cast<int>(bytes.size()), bytes.data(), direction,
                                       static_cast<int>(out.empty() ? in_bytes : out.size()));
    iscsi_data data{copy.size(), copy.data()};
    if (iscsi_scsi_command_sync(context_, lun_, task, out.empty() ? nullptr : &data) == nullptr) {
      fail(fmt::format("a session was lost: {}", iscsi_get_error(context_)));
    }
    Outcome outcome;
    outcome.status = static_cast<uint8_t>(task->status);
    if (task->status > 0xFF) fail(fmt::format("a command was not answered: {}", iscsi_get_error(context_)));
    if (outcome.status == kCheckCondition) take_sense(*task, outcome);
    if (outcome.good() && task->datain.size > 0) {
      outcome.data.assign(task->datain.data, task->datain.data + task->datain.size);
    }
    scsi_free_scsi_task(task);
    if (outcome.status != kBusy && outcome.status != kTaskSetFull) return outcome;
  }
}

Outcome Session::read(uint64_t lba, uint32_t blocks) {
  std::array<uint8_t, 16> cdb{0x88};
  put(cdb, 2, lba);
  put(cdb, 10, blocks);
  return command(cdb, size_t{blocks} * block_bytes_);
}

Outcome Session::write_like(uint8_t opcode, uint8_t flags, uint64_t lba, std::span<const uint8_t> data) {
  std::array<uint8_t, 16> cdb{opcode, flags};
  put(cdb, 2, lba);
  put(cdb, 10, static_cast<uint32_t>(data.size() / block_bytes_));
  return command(cdb, 0, data);
}

Outcome Session::write_atomic(uint64_t lba, std::span<const uint8_t> data) {
  std::array<uint8_t, 16> cdb{0x9C};
  put(cdb, 2, lba);
  put(cdb, 12, static_cast<uint16_t>(data.size() / block_bytes_));
  return command(cdb, 0, data);
}

Outcome Session::write_same(uint64_t lba, uint32_t blocks, std::span<const uint8_t> block) {
  std::array<uint8_t, 16> cdb{0x93};
  put(cdb, 2, lba);
  put(cdb, 10, blocks);
  return command(cdb, 0, block);
}

Outcome Session::unmap(uint64_t lba, uint32_t blocks) {
  const std::array<uint8_t, 10> cdb{0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0};
  std::array<uint8_t, 24> list{0, 22, 0, 16};
  put(list, 8, lba);
  put(list, 16, blocks);
  return command(cdb, 0, list);
}

Outcome Session::compare_and_write(uint64_t lba, std::span<const uint8_t> compare,
                                   std::span<const uint8_t> write) {
  std::array<uint8_t, 16> cdb{0x89};
  put(cdb, 2, lba);
  cdb[13] = static_cast<uint8_t>(compare.size() / block_bytes_);
  Bytes both(compare.begin(), compare.end());
  both.insert(both.end(), write.begin(), write.end());
  return command(cdb, 0, both);
}

/// The NAA designator of this logical unit, of the device identification page.
Bytes Session::designator() {
  const std::array<uint8_t, 6> cdb{0x12, 1, 0x83, 1, 0, 0};
  const Outcome page = command(cdb, 256);
  for (size_t at = 4; page.good() && at + 4 <= page.data.size(); at += 4 + size_t{page.data[at + 3]}) {
    const auto from = page.data.begin() + static_cast<std::ptrdiff_t>(at);
    if ((page.data[at + 1] & 0x3F) == 0x03) return {from, from + 4 + page.data[at + 3]};
  }
  fail("the device identification page has no NAA designator");
}

Outcome Session::extended_copy(uint64_t from, uint64_t to, uint16_t blocks) {
  if (designator_.empty()) designator_ = designator();
  // SPC-4, EXTENDED COPY (LID1): a header of 16 bytes, one identification descriptor, one block to block
  // segment.
  std::array<uint8_t, 16 + 32 + 28> list{};
  list[1] = 0x18;  // LIST ID USAGE is 11b: there is no list identifier
  put(list, 2, uint16_t{32});
  put(list, 8, uint32_t{28});
  const std::span<uint8_t> target = std::span(list).subspan(16, 32);
  target[0] = 0xE4;
  std::copy_n(designator_.begin(), std::min<size_t>(designator_.size(), 24), target.begin() + 4);
  put(target, 28, block_bytes_);
  const std::span<uint8_t> segment = std::span(list).subspan(48, 28);
  segment[0] = 0x02;
  put(segment, 2, uint16_t{24});
  put(segment, 10, blocks);
  put(segment, 12, from);
  put(segment, 20, to);
  std::array<uint8_t, 16> cdb{0x83};
  put(cdb, 10, static_cast<uint32_t>(list.size()));
  return command(cdb, 0, list);
}

bool Session::supports(uint8_t opcode, int service_action) {
  std::array<uint8_t, 12> cdb{0xA3, 0x0C, static_cast<uint8_t>(service_action < 0 ? 1 : 2), opcode};
  put(cdb, 4, static_cast<uint16_t>(std::max(service_action, 0)));
  put(cdb, 6, uint32_t{64});
  const Outcome answer = command(cdb, 64);
  return answer.good() && answer.data.size() > 1 && (answer.data[1] & 0x07) == 3;
}

uint32_t Session::block_limit(size_t offset, size_t bytes) {
  const std::array<uint8_t, 6> cdb{0x12, 1, 0xB0, 0, 64, 0};
  const Outcome page = command(cdb, 64);
  return page.good() && page.data.size() >= offset + bytes
             ? static_cast<uint32_t>(get(page.data, offset, bytes))
             : 0;
}

}  // namespace races

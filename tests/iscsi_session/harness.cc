#include "tests/iscsi_session/harness.h"

#include <algorithm>
#include <new>

#include "base/crc32c.h"

namespace itgtd::iscsi::test {

Data pattern(size_t size, unsigned seed) {
  Data data(size);
  for (size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>((i * 7 + i / 251 + seed * 31) & 0xFF);
  return data;
}

Harness::Harness(HarnessOptions options)
    : cmd_sn(options.exp_cmd_sn),
      region_(new (std::align_val_t{BuddyPool::kBlockBytesMax}) std::byte[options.memory_bytes]),
      region_bytes_(options.memory_bytes),
      tasks_(options.tasks),
      pdus_(options.pdus),
      memory_({region_.get(), options.memory_bytes}),
      resources_{tasks_, pdus_, memory_, ready_, waiting_},
      disk_(pattern(size_t{256} << 10, 1)) {
  lu_.lun = 0;
  luns_.units[0] = &lu_;
  luns_.units[1] = &lu_;
  Session::Start start;
  start.parameters = options.parameters;
  start.identity.type = options.type;
  start.identity.initiator_name = "iqn.2026-01.test:initiator";
  start.identity.target_name = "iqn.2026-01.test:target";
  start.identity.cid = 7;
  start.exp_cmd_sn = options.exp_cmd_sn;
  start.stat_sn = 100;
  start.directory = options.directory;
  if (options.type == SessionType::normal) {
    start.nexus = std::make_unique<scsi::Nexus>(1, scsi::InitiatorPort{}, &luns_);
  }
  session_ = std::make_unique<Session>(resources_, std::move(start));
}

Harness::~Harness() {
  session_->shut_down();
  take_sent();
  EXPECT_EQ(session_->executing(), 0U) << "the test still holds tasks";
  session_.reset();
  EXPECT_EQ(tasks_.used(), 0U);
  EXPECT_EQ(pdus_.used(), 0U);
  EXPECT_EQ(memory_.free_bytes(), region_bytes_);
  EXPECT_TRUE(ready_.empty());
  EXPECT_TRUE(waiting_.empty());
}

void Harness::deliver_bhs(const Bhs& bhs, const Data& segment, bool digest_ok, const Data& ahs) {
  const Pdu pdu{&bhs, ahs};
  const Bytes to = session_->on_header(pdu);
  ASSERT_TRUE(to.empty() || to.size() == segment.size());
  if (!to.empty()) {
    // It must lie in the pool, wherever it is.
    ASSERT_GE(to.data(), region_.get());
    ASSERT_LE(to.data() + to.size(), region_.get() + region_bytes_);
    std::copy(segment.begin(), segment.end(), to.begin());
  }
  session_->on_data(pdu, to, digest_ok);
}

ScsiCommandBhs Harness::command(uint8_t opcode, uint32_t tag, uint32_t offset, uint32_t length) {
  ScsiCommandBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(Opcode::scsi_command);
  bhs.flags = ScsiCommandBhs::kFinal;
  bhs.initiator_task_tag.set(tag);
  bhs.expected_data_transfer_length.set(length);
  bhs.cmd_sn.set(cmd_sn++);
  bhs.cdb[0] = opcode;
  const Bytes cdb = std::as_writable_bytes(std::span(bhs.cdb));
  store(cdb.subspan(2), be32(offset));
  store(cdb.subspan(6), be32(length));
  return bhs;
}

ScsiCommandBhs Harness::read(uint32_t tag, uint32_t offset, uint32_t length) {
  ScsiCommandBhs bhs = command(kFakeRead, tag, offset, length);
  bhs.flags |= ScsiCommandBhs::kRead;
  return bhs;
}

ScsiCommandBhs Harness::write(uint32_t tag, uint32_t offset, uint32_t length) {
  ScsiCommandBhs bhs = command(kFakeWrite, tag, offset, length);
  bhs.flags |= ScsiCommandBhs::kWrite;
  return bhs;
}

ScsiDataOutBhs Harness::data_out(uint32_t tag, uint32_t target_tag, uint32_t data_sn, uint32_t offset,
                                 bool final) const {
  ScsiDataOutBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(Opcode::scsi_data_out);
  bhs.flags = final ? ScsiDataOutBhs::kFinal : uint8_t{0};
  bhs.initiator_task_tag.set(tag);
  bhs.target_transfer_tag.set(target_tag);
  bhs.data_sn.set(data_sn);
  bhs.buffer_offset.set(offset);
  return bhs;
}

TaskManagementRequestBhs Harness::management(TaskManagementFunction function, uint32_t tag,
                                             uint32_t referenced_tag) {
  TaskManagementRequestBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(Opcode::task_management_request) | kImmediateBit;
  bhs.function = static_cast<uint8_t>(0x80 | static_cast<uint8_t>(function));
  bhs.initiator_task_tag.set(tag);
  bhs.referenced_task_tag.set(referenced_tag);
  bhs.cmd_sn.set(cmd_sn);
  return bhs;
}

NopOutBhs Harness::nop_out(uint32_t tag) {
  NopOutBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(Opcode::nop_out);
  bhs.flags = 0x80;
  bhs.initiator_task_tag.set(tag);
  bhs.target_transfer_tag.set(kReservedTag);
  bhs.cmd_sn.set(cmd_sn++);
  return bhs;
}

TextRequestBhs Harness::text(uint32_t tag, uint32_t target_tag) {
  TextRequestBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(Opcode::text_request);
  bhs.flags = TextRequestBhs::kFinal;
  bhs.initiator_task_tag.set(tag);
  bhs.target_transfer_tag.set(target_tag);
  bhs.cmd_sn.set(cmd_sn++);
  return bhs;
}

LogoutRequestBhs Harness::logout(uint32_t tag, uint8_t reason, uint16_t cid) {
  LogoutRequestBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(Opcode::logout_request) | kImmediateBit;
  bhs.reason = static_cast<uint8_t>(0x80 | reason);
  bhs.initiator_task_tag.set(tag);
  bhs.cid.set(cid);
  bhs.cmd_sn.set(cmd_sn);
  return bhs;
}

std::vector<Task*> Harness::start_all() {
  std::vector<Task*> started;
  while (Task* task = ready_.pop_front()) {
    task->state = TaskState::executing;
    started.push_back(task);
  }
  return started;
}

void Harness::finish(Task& task) {
  scsi::Command& command = task.command;
  const uint32_t offset = view<be32>(std::as_bytes(std::span(command.cdb)).subspan(2))->get();
  scsi::Done done;
  if (command.phase.direction == scsi::DataDirection::in) {
    const uint32_t sixteenths = command.cdb[10];
    const uint32_t length =
        sixteenths == 0 ? command.phase.transfer_bytes : command.phase.transfer_bytes / 16 * sixteenths;
    EXPECT_EQ(command.data.size(), command.phase.transfer_bytes);
    std::copy_n(disk_.begin() + offset, length, command.data.begin());
    done.data_in_bytes = length;
  } else if (command.phase.direction == scsi::DataDirection::out) {
    EXPECT_EQ(command.data.size(), command.phase.transfer_bytes);
    EXPECT_EQ(command.scratch.size(), command.phase.scratch_bytes);
    std::copy_n(command.data.begin(), command.data_out_bytes, disk_.begin() + offset);
  }
  session_->on_done(task, done);
}

void Harness::run() {
  for (Task* task : start_all()) finish(*task);
}

std::vector<Sent> Harness::take_sent() {
  std::vector<Sent> all;
  SendList& out = session_->out();
  while (OutPdu* pdu = out.pop_front()) {
    Sent sent;
    sent.bhs = load<Bhs>(pdu->header);
    sent.data.assign(pdu->data.begin(), pdu->data.end());
    sent.trailer.assign(pdu->trailer.begin(), pdu->trailer.begin() + pdu->trailer_bytes);
    sent.header_digest.assign(pdu->header.begin() + kBhsBytes, pdu->header.begin() + pdu->header_bytes);
    EXPECT_EQ(sent.bhs.data_segment_length.get(), sent.data.size());
    all.push_back(std::move(sent));
    session_->on_sent(*pdu);
  }
  return all;
}

Sent Harness::take_one() {
  std::vector<Sent> all = take_sent();
  EXPECT_EQ(all.size(), 1U);
  return all.empty() ? Sent{} : all.front();
}

uint32_t Harness::sense_of(const Sent& sent) {
  const auto& bhs = sent.as<ScsiResponseBhs>();
  if (bhs.status != static_cast<uint8_t>(scsi::Status::check_condition) || sent.data.size() < 6) return 0;
  EXPECT_EQ(view<be16>(ConstBytes(sent.data))->get(), sent.data.size() - 2);
  return std::to_integer<uint32_t>(sent.data[3]) << 16 | std::to_integer<uint32_t>(sent.data[4]) << 8 |
         std::to_integer<uint32_t>(sent.data[5]);
}

}  // namespace itgtd::iscsi::test

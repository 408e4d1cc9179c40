#include "tests/bench/scripted_target.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "base/address.h"
#include "base/endian.h"
#include "bench/login.h"
#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

using namespace iscsi;

constexpr std::chrono::seconds kPatience{10};  // a test that takes longer has failed

}  // namespace

/// One connection, by turns: a PDU, its answer.
class ScriptedTarget::Session {
 public:
  Session(ScriptedTarget& target, Stream stream) : target_(target), stream_(std::move(stream)) {}

  void run() {
    while (!done_ && !target_.stop_) {
      while (!waiting_.empty() && !done_) {
        const Pdu pdu = std::move(waiting_.front());
        waiting_.erase(waiting_.begin());
        dispatch(pdu);
      }
      if (done_) return;
      Result<Pdu> pdu = stream_.receive(now() + kPatience);
      if (!pdu) return;
      dispatch(*pdu);
    }
  }

 private:
  const Behaviour& behaviour() const { return target_.behaviour_; }

  void dispatch(const Pdu& pdu) {
    if (const auto* login = as<LoginRequestBhs>(pdu.bhs)) return on_login(*login, pdu.data);
    if (const auto* command = as<ScsiCommandBhs>(pdu.bhs)) return on_command(*command, pdu.data);
    if (const auto* logout = as<LogoutRequestBhs>(pdu.bhs)) return on_logout(*logout);
    if (const auto* ping = as<NopOutBhs>(pdu.bhs)) {
      if (ping->target_transfer_tag.get() == 77) ++target_.pings_answered_;
    }
  }

  template <typename T>
  void send(T bhs, ConstBytes data = {}, bool with_status = true) {
    bhs.opcode = static_cast<uint8_t>(T::kOpcode);
    bhs.stat_sn.set(with_status ? stat_sn_++ : stat_sn_);
    bhs.exp_cmd_sn.set(exp_cmd_sn_);
    bhs.max_cmd_sn.set(exp_cmd_sn_ + behaviour().command_window - 1);
    if (Result<void> sent = stream_.send(load<Bhs>(bytes_of(bhs)), data, now() + kPatience); !sent)
      done_ = true;
  }

  void on_login(const LoginRequestBhs& request, ConstBytes data) {
    const TextKeys keys = parse_keys(as_text(data)).value();
    LoginResponseBhs response{};
    response.flags = request.flags;
    response.isid = request.isid;
    response.tsih.set(1);
    response.initiator_task_tag = request.initiator_task_tag;
    exp_cmd_sn_ = request.cmd_sn.get();
    std::string text;
    if (keys.contains("AuthMethod")) append_key(text, "AuthMethod", "None");
    if (keys.contains("InitialR2T")) {
      const auto yes_no = [](bool yes) { return yes ? "Yes" : "No"; };
      for (const char* key : {"HeaderDigest", "DataDigest"}) append_key(text, key, keys.at(key));
      append_key(text, "InitialR2T", yes_no(behaviour().initial_r2t || keys.at("InitialR2T") == "Yes"));
      append_key(text, "ImmediateData",
                 yes_no(behaviour().immediate_data && keys.at("ImmediateData") == "Yes"));
      append_key(text, "MaxRecvDataSegmentLength", fmt::format("{}", behaviour().max_segment));
      append_key(text, "MaxBurstLength", fmt::format("{}", behaviour().max_burst));
      append_key(text, "FirstBurstLength", fmt::format("{}", behaviour().first_burst));
    }
    send(response, as_bytes(text));
    if ((request.flags & 3) == 3) {
      stream_.set_digests(keys.at("HeaderDigest") == "CRC32C", keys.at("DataDigest") == "CRC32C");
    }
  }

  void on_logout(const LogoutRequestBhs& request) {
    ++target_.logouts_;
    LogoutResponseBhs response{};
    response.flags = 0x80;
    response.initiator_task_tag = request.initiator_task_tag;
    send(response);
    done_ = true;
  }

  void respond(const ScsiCommandBhs& command, uint8_t status, ConstBytes sense = {}) {
    ScsiResponseBhs response{};
    response.flags = ScsiResponseBhs::kFinal;
    response.status = status;
    response.initiator_task_tag = command.initiator_task_tag;
    std::vector<std::byte> segment;
    if (!sense.empty()) {
      segment.resize(2);
      store(segment, be16(static_cast<uint16_t>(sense.size())));
      segment.insert(segment.end(), sense.begin(), sense.end());
    }
    if (behaviour().skip_stat_sn && target_.ios_ > 0) ++stat_sn_;
    send(response, segment);
  }

  void check_condition(const ScsiCommandBhs& command, uint8_t key, uint8_t asc) {
    std::array<std::byte, 18> sense{};
    sense[0] = std::byte{0x70};
    sense[2] = static_cast<std::byte>(key);
    sense[7] = std::byte{10};
    sense[12] = static_cast<std::byte>(asc);
    respond(command, 0x02, sense);
  }

  void on_command(const ScsiCommandBhs& command, ConstBytes immediate) {
    ++exp_cmd_sn_;
    if (command.cdb[0] == 0x00) {
      if (attentions_++ < behaviour().unit_attentions) return check_condition(command, 6, 0x29);
      return respond(command, 0);
    }
    if (command.cdb[0] == 0x9E) return on_read_capacity(command);
    on_io(command, immediate);
  }

  void on_read_capacity(const ScsiCommandBhs& command) {
    std::array<std::byte, 32> data{};
    store(data, be64(kDiskBytes / kBlockBytes - 1));
    store(Bytes(data).subspan(8), be32(kBlockBytes));
    data_in(command, data, 0, true);
  }

  void data_in(const ScsiCommandBhs& command, ConstBytes data, uint32_t offset, bool status) {
    ScsiDataInBhs bhs{};
    if (status) bhs.flags = ScsiDataInBhs::kFinal | ScsiDataInBhs::kStatus;
    bhs.initiator_task_tag = command.initiator_task_tag;
    bhs.target_transfer_tag.set(kReservedTag);
    bhs.buffer_offset.set(offset);
    const uint32_t expected = command.expected_data_transfer_length.get();
    if (status && offset + data.size() < expected) {
      bhs.flags |= ScsiDataInBhs::kUnderflow;
      bhs.residual_count.set(expected - offset - static_cast<uint32_t>(data.size()));
    }
    send(bhs, data, status);
  }

  void on_io(const ScsiCommandBhs& command, ConstBytes immediate) {
    const uint64_t number = ++target_.ios_;
    if (number == behaviour().close_after) {
      done_ = true;
      return;
    }
    if (number == behaviour().reject_after) {
      RejectBhs reject{};
      reject.reason = static_cast<uint8_t>(RejectReason::protocol_error);
      return send(reject, bytes_of(command));
    }
    if (behaviour().ping_each_command) {
      NopInBhs ping{};
      ping.initiator_task_tag.set(kReservedTag);
      ping.target_transfer_tag.set(77);
      send(ping, {}, false);
    }
    const uint64_t lba = load<be64>(bytes_of(command.cdb).subspan(2)).get();
    const size_t at = lba * kBlockBytes;
    const uint32_t length = command.expected_data_transfer_length.get();
    if (behaviour().fail_lba == lba) return check_condition(command, 3, 0x11);
    if (at + length > kDiskBytes) return check_condition(command, 5, 0x21);
    if ((command.flags & ScsiCommandBhs::kWrite) != 0) return on_write(command, immediate, at, lba);
    std::vector<std::byte> data(behaviour().short_reads ? length / 2 : length);
    {
      const std::lock_guard lock(target_.mutex_);
      std::copy_n(target_.disk_.begin() + static_cast<ptrdiff_t>(at), data.size(), data.begin());
    }
    answer_read(command, data);
  }

  void answer_read(const ScsiCommandBhs& command, ConstBytes data) {
    const auto segment = std::min<size_t>(behaviour().max_segment, 8192);  // so that reads come in parts
    for (size_t offset = 0; offset < data.size(); offset += segment) {
      const ConstBytes part = data.subspan(offset, std::min(segment, data.size() - offset));
      const bool last = offset + part.size() == data.size();
      data_in(command, part, static_cast<uint32_t>(offset), last && !behaviour().separate_status);
    }
    if (behaviour().separate_status) respond(command, 0);
  }

  void on_write(const ScsiCommandBhs& command, ConstBytes immediate, size_t at, uint64_t lba) {
    const uint32_t length = command.expected_data_transfer_length.get();
    std::vector<std::byte> data(immediate.begin(), immediate.end());
    data.reserve(length);
    if ((command.flags & ScsiCommandBhs::kFinal) == 0) collect(command, kReservedTag, data);
    for (uint32_t sn = 0; data.size() < length && !done_; ++sn) {
      ++target_.r2ts_;
      R2tBhs r2t{};
      r2t.flags = 0x80;
      r2t.initiator_task_tag = command.initiator_task_tag;
      r2t.target_transfer_tag.set(1000 + sn);
      r2t.r2t_sn.set(sn);
      r2t.buffer_offset.set(static_cast<uint32_t>(data.size()));
      const size_t missing = length - data.size();
      r2t.desired_data_transfer_length.set(
          static_cast<uint32_t>(std::min<size_t>(missing, behaviour().max_burst)));
      send(r2t, {}, false);
      collect(command, 1000 + sn, data);
    }
    if (done_) return;
    if (behaviour().lose_lba != lba) {
      const std::lock_guard lock(target_.mutex_);
      std::copy(data.begin(), data.end(), target_.disk_.begin() + static_cast<ptrdiff_t>(at));
    }
    respond(command, 0);
  }

  /// The next Data-Out of the task. Other PDUs are kept for later, as a target with a queue does.
  std::optional<Pdu> next_data_out(be32 initiator_task_tag) {
    const auto wanted = [&](const Pdu& pdu) {
      const auto* out = as<ScsiDataOutBhs>(pdu.bhs);
      return out != nullptr && out->initiator_task_tag == initiator_task_tag;
    };
    const auto kept = std::find_if(waiting_.begin(), waiting_.end(), wanted);
    if (kept != waiting_.end()) {
      Pdu pdu = std::move(*kept);
      waiting_.erase(kept);
      return pdu;
    }
    for (;;) {
      Result<Pdu> pdu = stream_.receive(now() + kPatience);
      if (!pdu) return std::nullopt;
      if (wanted(*pdu)) return *pdu;
      waiting_.push_back(*pdu);
    }
  }

  /// Takes one sequence of Data-Out; ends the session, which the test sees, when it is not as it should be.
  void collect(const ScsiCommandBhs& command, uint32_t tag, std::vector<std::byte>& data) {
    for (uint32_t sn = 0;; ++sn) {
      const std::optional<Pdu> pdu = next_data_out(command.initiator_task_tag);
      if (!pdu) {
        done_ = true;
        return;
      }
      const auto out = load<ScsiDataOutBhs>(bytes_of(pdu->bhs));
      if (out.data_sn.get() != sn || out.target_transfer_tag.get() != tag ||
          out.buffer_offset.get() != data.size() || pdu->data.size() > behaviour().max_segment) {
        done_ = true;
        return;
      }
      data.insert(data.end(), pdu->data.begin(), pdu->data.end());
      if ((out.flags & ScsiDataOutBhs::kFinal) != 0) return;
    }
  }

  ScriptedTarget& target_;
  Stream stream_;
  std::vector<Pdu> waiting_;
  uint32_t stat_sn_ = 0xFFFF'FFF0;  // so that it wraps
  uint32_t exp_cmd_sn_ = 0;
  int attentions_ = 0;
  bool done_ = false;
};

ScriptedTarget::ScriptedTarget(const Behaviour& behaviour) : behaviour_(behaviour), disk_(kDiskBytes) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const Address any = Address::parse("127.0.0.1", 0).value();
  ITGTD_ASSERT(bind(listener_, any.data(), any.size()) == 0);
  ITGTD_ASSERT(listen(listener_, 64) == 0);
  sockaddr_in bound{};
  socklen_t size = sizeof(bound);
  ITGTD_ASSERT(getsockname(listener_, static_cast<sockaddr*>(static_cast<void*>(&bound)), &size) == 0);
  port_ = ntohs(bound.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

ScriptedTarget::~ScriptedTarget() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& session : sessions_) session.join();
  close(listener_);
}

void ScriptedTarget::accept_all() {
  while (!stop_) {
    pollfd entry{listener_, POLLIN, 0};
    if (poll(&entry, 1, 20) <= 0) continue;
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    sessions_.emplace_back([this, fd] { Session(*this, Stream(fd)).run(); });
  }
}

}  // namespace itgtd::bench

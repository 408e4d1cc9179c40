#include "bench/login.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/parse.h"
#include "bench/chap.h"
#include "bench/pdu.h"

namespace itgtd::bench {
namespace {

using iscsi::LoginRequestBhs;
using iscsi::LoginResponseBhs;

enum class Stage : uint8_t { security = 0, operational = 1, full_feature = 3 };  // RFC 7143 §11.12.3

constexpr int kExchangesMax = 20;               // a login that takes more does not end
constexpr size_t kTextBytesMax = 64u << 10;     // all continued parts of one answer
constexpr uint32_t kMaxBurstLength = 16776192;  // what open-iscsi offers
constexpr uint32_t kFirstBurstLength = 262144;  // likewise

class Login {
 public:
  Login(const LoadOptions& options, uint32_t number, Stream& stream, Instant deadline)
      : options_(options), number_(number), stream_(stream), deadline_(deadline) {}

  Result<void> security();
  Result<iscsi::Parameters> operational();
  void hand_over(Session& session) const {
    session.cmd_sn = kInitialCmdSn;
    session.exp_stat_sn = exp_stat_sn_;
    session.max_cmd_sn = max_cmd_sn_;
  }

 private:
  static constexpr uint32_t kInitialCmdSn = 1;

  struct Answer {
    TextKeys keys;
    bool transit = false;
  };
  Result<Answer> exchange(Stage stage, Stage next, const std::string& text, bool transit);
  Result<void> send(Stage stage, Stage next, const std::string& text, bool transit);
  Result<void> take_header(const LoginResponseBhs& bhs);
  Result<void> chap();
  [[nodiscard]] std::string identity() const;
  [[nodiscard]] std::string offer() const;

  const LoadOptions& options_;
  uint32_t number_;
  Stream& stream_;
  Instant deadline_;
  uint16_t tsih_ = 0;
  uint32_t exp_stat_sn_ = 0;
  uint32_t max_cmd_sn_ = 0;
};

Result<void> Login::send(Stage stage, Stage next, const std::string& text, bool transit) {
  LoginRequestBhs bhs{};
  bhs.opcode = static_cast<uint8_t>(LoginRequestBhs::kOpcode) | iscsi::kImmediateBit;
  bhs.flags = static_cast<uint8_t>(static_cast<uint8_t>(stage) << 2);
  if (transit) bhs.flags |= static_cast<uint8_t>(LoginRequestBhs::kTransit | static_cast<uint8_t>(next));
  // RFC 7143 §11.12.5: type 10b (random), the number as qualifier; the process's seed in between.
  bhs.isid = {0x80,
              static_cast<uint8_t>(options_.seed >> 16),
              static_cast<uint8_t>(options_.seed >> 8),
              static_cast<uint8_t>(options_.seed),
              static_cast<uint8_t>(number_ >> 8),
              static_cast<uint8_t>(number_)};
  bhs.tsih.set(tsih_);
  bhs.initiator_task_tag.set(1);
  bhs.cmd_sn.set(kInitialCmdSn);
  bhs.exp_stat_sn.set(exp_stat_sn_);
  return stream_.send(load<iscsi::Bhs>(bytes_of(bhs)), as_bytes(text), deadline_);
}

Result<void> Login::take_header(const LoginResponseBhs& bhs) {
  if (bhs.status_class != 0) {
    return Error{0,
                 fmt::format("the target answered the login with status {:02x}{:02x} ({})", bhs.status_class,
                             bhs.status_detail, login_status_text(bhs.status_class, bhs.status_detail))};
  }
  exp_stat_sn_ = bhs.stat_sn.get() + 1;
  max_cmd_sn_ = bhs.max_cmd_sn.get();
  tsih_ = bhs.tsih.get();
  return {};
}

Result<Login::Answer> Login::exchange(Stage stage, Stage next, const std::string& text, bool transit) {
  if (Result<void> sent = send(stage, next, text, transit); !sent) return sent.error();
  std::string collected;
  for (int part = 0; part < kExchangesMax && collected.size() <= kTextBytesMax; ++part) {
    Result<Pdu> pdu = stream_.receive(deadline_);
    if (!pdu) return pdu.error();
    const auto* bhs = iscsi::as<LoginResponseBhs>(pdu->bhs);
    if (bhs == nullptr) {
      return Error{0,
                   fmt::format("the target answered a login request with opcode {:#04x}", pdu->bhs.opcode)};
    }
    if (Result<void> taken = take_header(*bhs); !taken) return taken.error();
    collected += as_text(pdu->data);
    // RFC 7143 §6.2: a text that goes on (C bit) is asked for with empty requests.
    if ((bhs->flags & LoginResponseBhs::kContinue) == 0) {
      Result<TextKeys> keys = parse_keys(collected);
      if (!keys) return keys.error();
      return Answer{std::move(*keys), (bhs->flags & LoginResponseBhs::kTransit) != 0};
    }
    if (Result<void> sent = send(stage, next, {}, false); !sent) return sent.error();
  }
  return Error{0, "the target's login answer does not end"};
}

std::string Login::identity() const {
  std::string text;
  append_key(text, "InitiatorName", options_.initiator);
  append_key(text, "SessionType", "Normal");
  append_key(text, "TargetName", options_.target);
  return text;
}

Result<void> Login::security() {
  std::string text = identity();
  const bool authenticate = !options_.user.empty();
  append_key(text, "AuthMethod", authenticate ? "CHAP" : "None");
  const Result<Answer> answer = exchange(Stage::security, Stage::operational, text, !authenticate);
  if (!answer) return answer.error();
  if (authenticate) {
    const auto method = answer->keys.find("AuthMethod");
    if (method == answer->keys.end() || method->second != "CHAP") {
      return Error{0, "the target does not want CHAP"};
    }
    return chap();
  }
  if (answer->transit) return {};
  // Some targets only move on when asked a second time.
  const Result<Answer> again = exchange(Stage::security, Stage::operational, {}, true);
  if (!again) return again.error();
  if (!again->transit) return Error{0, "the target wants authentication: give --user and --secret-file"};
  return {};
}

Result<void> Login::chap() {
  std::string text;
  append_key(text, "CHAP_A", options_.chap_algorithms);
  const Result<Answer> challenge = exchange(Stage::security, Stage::operational, text, false);
  if (!challenge) return challenge.error();
  std::array<std::string, 3> values;
  const std::array<std::string_view, 3> names{"CHAP_A", "CHAP_I", "CHAP_C"};
  for (size_t i = 0; i < names.size(); ++i) {
    const auto found = challenge->keys.find(names[i]);
    if (found == challenge->keys.end()) return Error{0, fmt::format("the target sent no {}", names[i])};
    values[i] = found->second;
  }
  const Result<std::string> response = chap_response(values[0], values[1], values[2], options_.secret);
  if (!response) return response.error();
  text.clear();
  append_key(text, "CHAP_N", options_.user);
  append_key(text, "CHAP_R", response.value());
  const Result<Answer> verdict = exchange(Stage::security, Stage::operational, text, true);
  if (!verdict) return verdict.error();
  if (!verdict->transit) return Error{0, "the target does not end the security stage after CHAP"};
  return {};
}

std::string Login::offer() const {
  std::string text;
  append_key(text, "HeaderDigest", options_.header_digest ? "CRC32C" : "None");
  append_key(text, "DataDigest", options_.data_digest ? "CRC32C" : "None");
  append_key(text, "MaxConnections", "1");
  append_key(text, "InitialR2T", options_.initial_r2t ? "Yes" : "No");
  append_key(text, "ImmediateData", options_.immediate_data ? "Yes" : "No");
  append_key(text, "MaxRecvDataSegmentLength", fmt::format("{}", options_.max_segment_bytes));
  append_key(text, "MaxBurstLength", fmt::format("{}", kMaxBurstLength));
  append_key(text, "FirstBurstLength", fmt::format("{}", kFirstBurstLength));
  append_key(text, "DefaultTime2Wait", "2");
  append_key(text, "DefaultTime2Retain", "0");
  append_key(text, "MaxOutstandingR2T", "1");
  append_key(text, "DataPDUInOrder", "Yes");
  append_key(text, "DataSequenceInOrder", "Yes");
  append_key(text, "ErrorRecoveryLevel", "0");
  return text;
}

Result<iscsi::Parameters> Login::operational() {
  TextKeys answered;
  std::string text = offer();
  for (int i = 0; i < kExchangesMax; ++i) {
    Result<Answer> answer = exchange(Stage::operational, Stage::full_feature, text, true);
    if (!answer) return answer.error();
    answered.merge(answer->keys);
    if (answer->transit) return agree(options_, answered);
    text.clear();
  }
  return Error{0, "the target never ends the operational stage"};
}

/// One answered key.
class Answers {
 public:
  explicit Answers(const TextKeys& keys) : keys_(keys) {}
  Result<bool> yes(std::string_view key, bool absent) const {
    const auto found = keys_.find(key);
    if (found == keys_.end()) return absent;
    if (found->second == "Yes") return true;
    if (found->second == "No") return false;
    return Error{0, fmt::format("the target answered {}={}", key, found->second)};
  }
  Result<uint32_t> number(std::string_view key, uint32_t absent) const {
    const auto found = keys_.find(key);
    if (found == keys_.end()) return absent;
    const auto value = parse_number(found->second);
    // RFC 7143 §13: the lengths are 512 to 2^24 - 1.
    if (!value || *value < 512 || *value > 0xFF'FFFF) {
      return Error{0, fmt::format("the target answered {}={}", key, found->second)};
    }
    return static_cast<uint32_t>(*value);
  }
  Result<bool> digest(std::string_view key, bool wanted) const {
    const auto found = keys_.find(key);
    const bool crc = found != keys_.end() && found->second == "CRC32C";
    if (crc == wanted) return crc;
    return Error{0, fmt::format("the target {} {}", wanted ? "declines" : "insists on", key)};
  }

 private:
  const TextKeys& keys_;
};

}  // namespace

Result<TextKeys> parse_keys(std::string_view text) {
  TextKeys keys;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\0'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return Error{0, "the target sent a key without a value"};
    keys.insert_or_assign(std::string(pair.substr(0, equals)), std::string(pair.substr(equals + 1)));
  }
  return keys;
}

void append_key(std::string& text, std::string_view key, std::string_view value) {
  text.append(key).append("=").append(value).push_back('\0');
}

Result<iscsi::Parameters> agree(const LoadOptions& options, const TextKeys& answered) {
  const Answers answers(answered);
  const auto header = answers.digest("HeaderDigest", options.header_digest);
  const auto data = answers.digest("DataDigest", options.data_digest);
  // An unanswered key has its default. RFC 7143 §6.2.
  const auto initial_r2t = answers.yes("InitialR2T", true);
  const auto immediate = answers.yes("ImmediateData", options.immediate_data);
  const auto segment = answers.number("MaxRecvDataSegmentLength", 8192);
  const auto max_burst = answers.number("MaxBurstLength", 262144);
  const auto first_burst = answers.number("FirstBurstLength", 65536);
  for (const auto* flag : {&header, &data, &initial_r2t, &immediate}) {
    if (!flag->ok()) return flag->error();
  }
  for (const auto* number : {&segment, &max_burst, &first_burst}) {
    if (!number->ok()) return number->error();
  }
  iscsi::Parameters parameters;
  parameters.header_digest = header.value();
  parameters.data_digest = data.value();
  parameters.initial_r2t = initial_r2t.value() || options.initial_r2t;
  parameters.immediate_data = immediate.value() && options.immediate_data;
  parameters.max_recv_data_segment_length_target = segment.value();
  parameters.max_recv_data_segment_length_initiator = options.max_segment_bytes;
  parameters.max_burst_length = std::min(max_burst.value(), kMaxBurstLength);
  parameters.first_burst_length =
      std::min({first_burst.value(), kFirstBurstLength, parameters.max_burst_length});
  return parameters;
}

std::string login_status_text(uint8_t status_class, uint8_t status_detail) {
  struct Row {
    uint16_t status;
    std::string_view text;
  };
  static constexpr Row kRows[] = {
      {0x0101, "target moved temporarily"},
      {0x0102, "target moved permanently"},
      {0x0200, "initiator error"},
      {0x0201, "authentication failure"},
      {0x0202, "authorization failure"},
      {0x0203, "target not found"},
      {0x0204, "target removed"},
      {0x0205, "unsupported version"},
      {0x0206, "too many connections"},
      {0x0207, "missing parameter"},
      {0x0208, "can't include in session"},
      {0x0209, "session type not supported"},
      {0x020A, "session does not exist"},
      {0x020B, "invalid during login"},
      {0x0300, "target error"},
      {0x0301, "service unavailable"},
      {0x0302, "out of resources"},
  };
  const auto status = static_cast<uint16_t>(status_class << 8 | status_detail);
  for (const Row& row : kRows) {
    if (row.status == status) return std::string(row.text);
  }
  return "unknown status";
}

Result<Session> login(const LoadOptions& options, uint32_t number, Instant deadline) {
  Result<Stream> stream = Stream::connect(options.host, options.port, deadline);
  if (!stream) return stream.error();
  Login dialogue(options, number, *stream, deadline);
  if (Result<void> secured = dialogue.security(); !secured) return secured.error();
  Result<iscsi::Parameters> parameters = dialogue.operational();
  if (!parameters) return parameters.error();
  stream->set_digests(parameters->header_digest, parameters->data_digest);
  Session session{std::move(*stream), *parameters};
  dialogue.hand_over(session);
  return session;
}

}  // namespace itgtd::bench

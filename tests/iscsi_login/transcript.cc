#include "tests/iscsi_login/transcript.h"

#include <fmt/format.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "base/parse.h"
#include "target/iscsi/chap.h"
#include "target/iscsi/negotiation.h"
#include "target/iscsi/text_keys.h"
#include "tests/iscsi_login/login_fixture.h"

namespace itgtd::iscsi::testing {
namespace {

constexpr size_t kPairsShown = 40;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return parts;
}

uint64_t number(std::string_view text) {
  const auto value = parse_number(text);
  if (!value) throw std::runtime_error("not a number: " + std::string(text));
  return *value;
}

std::string base64(ConstBytes bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text = "0b";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t j = 0; j < 3; ++j) {
      group = group << 8 | (i + j < bytes.size() ? std::to_integer<uint32_t>(bytes[i + j]) : 0);
    }
    for (size_t j = 0; j < 4; ++j) {
      text += i + j > bytes.size() ? '=' : kDigits[group >> (18 - 6 * j) & 0x3F];
    }
  }
  return text;
}

class Runner {
 public:
  std::string run(std::string_view script);

 private:
  void flush();
  void set(std::string_view word);
  void add_text(std::string_view line);
  std::string expand(std::string_view call);
  void print(const LoginStep& step);
  void print_text(std::string_view text);
  void print_agreed();

  LoginState state_;
  std::optional<Request> request_;
  LoginStep last_;
  std::string challenge_pairs_;  // the last answer with CHAP_C
  std::string out_;
};

std::string Runner::run(std::string_view script) {
  bool echoing = true;
  for (const std::string_view line : split(script, '\n')) {
    const char first = line.empty() ? '#' : line.front();
    if (first == '>' || first == '#') flush();
    if (first == ' ' && !echoing) continue;
    echoing = first == '>' || first == '#' || first == ' ';
    if (!echoing) continue;
    out_.append(line).append(1, '\n');
    if (first == '>') {
      request_.emplace();
      request_->csg = request_->nsg = 0;
      for (const std::string_view word : split(line.substr(1), ' ')) set(word);
    } else if (first == ' ' && request_) {
      add_text(line.substr(line.find_first_not_of(' ')));
    }
  }
  flush();
  return out_;
}

void Runner::set(std::string_view word) {
  if (word.empty()) return;
  Request& r = *request_;
  if (word == "T") return void(r.transit = true);
  if (word == "C") return void(r.continues = true);
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  const uint64_t value = number(equals == std::string_view::npos ? "" : word.substr(equals + 1));
  if (name == "CSG") return void(r.csg = static_cast<uint8_t>(value));
  if (name == "NSG") return void(r.nsg = static_cast<uint8_t>(value));
  if (name == "isid") return void(r.isid = value);
  if (name == "tsih") return void(r.tsih = static_cast<uint16_t>(value));
  if (name == "cid") return void(r.cid = static_cast<uint16_t>(value));
  if (name == "itt") return void(r.initiator_task_tag = static_cast<uint32_t>(value));
  if (name == "cmdsn") return void(r.cmd_sn = static_cast<uint32_t>(value));
  if (name == "vmin") return void(r.version_min = static_cast<uint8_t>(value));
  if (name == "opcode") return void(r.opcode = static_cast<uint8_t>(value));
  if (name == "ahs") return void(r.total_ahs_length = static_cast<uint8_t>(value));
  throw std::runtime_error("unknown word: " + std::string(word));
}

void Runner::add_text(std::string_view line) {
  const bool open = line.ends_with('\\');
  if (open) line.remove_suffix(1);
  std::string text;
  while (!line.empty()) {
    const size_t brace = line.find('{');
    text += line.substr(0, brace);
    if (brace == std::string_view::npos) break;
    const size_t end = line.find('}', brace);
    if (end == std::string_view::npos) throw std::runtime_error("no } in: " + std::string(line));
    text += expand(line.substr(brace + 1, end - brace - 1));
    line.remove_prefix(end + 1);
  }
  request_->text += text;
  if (!open && !text.ends_with('\0')) request_->text += '\0';
}

std::string Runner::expand(std::string_view call) {
  const auto words = split(call, ' ');
  std::string result;
  if (words[0] == "repeat") {
    for (uint64_t i = 0; i < number(words.at(2)); ++i) result += words[1];
  } else if (words[0] == "keys") {
    for (uint64_t i = 0; i < number(words.at(1)); ++i) append_pair(result, fmt::format("k{}", i), "b");
  } else if (words[0] == "control") {
    result += '\x01';
  } else {
    LoginStep heard;
    heard.response.text = challenge_pairs_;
    if (words[0] == "reflect") return value_of(heard, "CHAP_C");
    if (words[0] != "response" && words[0] != "response64")
      throw std::runtime_error("unknown: " + std::string(call));
    std::array<std::byte, kChapBinaryBytesMax> buffer{};
    const size_t size = decode_binary(value_of(heard, "CHAP_C"), buffer).value();
    const ChapDigest digest = chap_digest(static_cast<ChapAlgorithm>(number(value_of(heard, "CHAP_A"))),
                                          static_cast<uint8_t>(number(value_of(heard, "CHAP_I"))),
                                          words.at(1), ConstBytes(buffer).first(size));
    return words[0] == "response" ? encode_binary(digest.view()) : base64(digest.view());
  }
  return result;
}

void Runner::flush() {
  if (!request_) return;
  if (last_.verdict != LoginVerdict::more) throw std::runtime_error("a request behind the end of the login");
  last_ = send(state_, *request_);
  request_.reset();
  if (value_of(last_, "CHAP_C") != "(none)") challenge_pairs_ = last_.response.text;
  print(last_);
}

void Runner::print(const LoginStep& step) {
  const LoginResponseBhs& bhs = step.response.bhs;
  const unsigned status = static_cast<unsigned>(status_of(step));
  out_ += fmt::format(
      "< {}{}CSG={} NSG={} status=0x{:04X} tsih={} itt=0x{:X} StatSN={} ExpCmdSN={} MaxCmdSN={} bytes={}\n",
      (bhs.flags & 0x80) != 0 ? "T " : "", (bhs.flags & 0x40) != 0 ? "C " : "", bhs.flags >> 2 & 3,
      bhs.flags & 3, status, bhs.tsih.get(), bhs.initiator_task_tag.get(), bhs.stat_sn.get(),
      bhs.exp_cmd_sn.get(), bhs.max_cmd_sn.get(), bhs.data_segment_length.get());
  print_text(step.response.text);
  if (step.verdict == LoginVerdict::fail) out_ += "! " + step.reason + "\n";
  if (step.verdict == LoginVerdict::full_feature) print_agreed();
}

void Runner::print_text(std::string_view text) {
  const auto lines = split(text, '\0');
  for (size_t i = 0; i < lines.size(); ++i) {
    const bool last = i + 1 == lines.size();
    if (lines.size() > kPairsShown && i == 3) out_ += fmt::format("  ... {} in all\n", lines.size());
    if (lines.size() > kPairsShown && i >= 3 && !last) continue;
    out_.append("  ").append(lines[i]).append(last && !text.ends_with('\0') ? "\\\n" : "\n");
  }
}

void Runner::print_agreed() {
  const Parameters& p = state_.parameters();
  const SessionIdentity& id = state_.identity();
  out_ += fmt::format("= {} initiator={} alias='{}' target={} user='{}' tag={} ISID={:02x} CID={}\n",
                      id.type == SessionType::normal ? "normal" : "discovery", id.initiator_name,
                      id.initiator_alias, id.target_name, id.chap_user, id.target_portal_group_tag,
                      fmt::join(id.isid, ""), id.cid);
  for (const KeyEntry& entry : key_table()) {
    std::visit(
        [&](auto member) {
          if constexpr (!std::is_same_v<decltype(member), std::monostate>) {
            out_ += fmt::format("  {}={}\n", entry.name, p.*member);
          }
        },
        entry.member);
  }
  out_ += fmt::format("  MaxRecvDataSegmentLength={} (ours)\n", p.max_recv_data_segment_length_target);
  out_ += fmt::format("  next StatSN={} CmdSN={}\n", state_.stat_sn(), state_.exp_cmd_sn());
}

}  // namespace

std::string run_transcript(std::string_view script) {
  return Runner().run(script);
}

}  // namespace itgtd::iscsi::testing

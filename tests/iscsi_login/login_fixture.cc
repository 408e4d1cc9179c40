#include "tests/iscsi_login/login_fixture.h"

#include "target/iscsi/text_keys.h"

namespace itgtd::iscsi::testing {
namespace {

Address address(std::string_view text) {
  return Address::parse(text, 3260).value();
}

DirectoryTarget target(std::string_view suffix) {
  DirectoryTarget result;
  result.name = "iqn.2017-01.com.linbit:" + std::string(suffix);
  result.portals = {address("10.0.0.1"), address("10.0.1.1")};
  return result;
}

DirectoryTarget chap_target(std::string_view suffix, ChapCredentials credentials) {
  DirectoryTarget result = target(suffix);
  result.chap = std::move(credentials);
  return result;
}

Directory make_directory() {
  const std::string secret(kSecret), mutual(kMutualSecret);
  Directory result;
  result.targets = {
      target("open"),
      chap_target("chap", {"user", secret, "", ""}),
      chap_target("mutual", {"user", secret, "tgt", mutual}),
      chap_target("short", {"user", "elevenbytes", "", ""}),
      chap_target("same", {"user", secret, "tgt", secret}),
      chap_target("prefixed", {"0x41", secret, "", ""}),
      target("digest-required"),
      target("digest-off"),
      target("listed"),
      target("networked"),
      target("elsewhere"),
      target("alias"),
  };
  for (DirectoryTarget& t : result.targets) {
    if (t.name.ends_with(":digest-required")) t.header_digest = t.data_digest = DigestPolicy::required;
    if (t.name.ends_with(":digest-off")) t.header_digest = t.data_digest = DigestPolicy::off;
    if (t.name.ends_with(":listed")) t.initiators = {"iqn.1998-01.com.vmware:*"};
    if (t.name.ends_with(":networked")) t.networks = {Network::parse("192.168.0.0/16").value()};
    if (t.name.ends_with(":elsewhere")) t.portals = {address("10.0.9.9")};
    if (t.name.ends_with(":alias")) t.alias = "the fourth disk", t.portal_group_tag = 4;
  }
  return result;
}

}  // namespace

const Directory& directory() {
  static const Directory instance = make_directory();
  return instance;
}

LoginPolicy policy() {
  return {&directory(), address("10.0.0.2:40000"), address("10.0.0.1:3260"), 262144};
}

FreshChallenge challenge() {
  FreshChallenge result;
  result.identifier = 7;
  for (size_t i = 0; i < result.challenge.size(); ++i) result.challenge[i] = static_cast<std::byte>(i);
  return result;
}

LoginStep send(LoginState& state, const Request& request, const LoginPolicy& judged_by) {
  LoginRequestBhs bhs{};
  bhs.opcode = request.opcode;
  bhs.flags = static_cast<uint8_t>((request.transit ? 0x80 : 0) | (request.continues ? 0x40 : 0) |
                                   request.csg << 2 | request.nsg);
  bhs.version_min = request.version_min;
  bhs.total_ahs_length = request.total_ahs_length;
  bhs.data_segment_length.set(static_cast<uint32_t>(request.text.size()));
  be48 isid(request.isid);
  bhs.isid = load<std::array<uint8_t, 6>>(bytes_of(isid));
  bhs.tsih.set(request.tsih);
  bhs.cid.set(request.cid);
  bhs.initiator_task_tag.set(request.initiator_task_tag);
  bhs.cmd_sn.set(request.cmd_sn);
  return login_step(state, load<Bhs>(bytes_of(bhs)), as_bytes(request.text), judged_by, challenge());
}

std::string pairs(std::initializer_list<std::string_view> list) {
  std::string text;
  for (const std::string_view pair : list) text.append(pair).append(1, '\0');
  return text;
}

std::string names(std::string_view target_name) {
  std::string text;
  append_pair(text, "InitiatorName", kInitiator);
  append_pair(text, "SessionType", "Normal");
  append_pair(text, "TargetName", target_name);
  return text;
}

LoginStatus status_of(const LoginStep& step) {
  const unsigned status = static_cast<unsigned>(step.response.bhs.status_class) << 8;
  return static_cast<LoginStatus>(status | step.response.bhs.status_detail);
}

std::string value_of(const LoginStep& step, std::string_view key) {
  for (const TextPair& pair : split_pairs(step.response.text).pairs) {
    if (pair.key == key) return std::string(pair.value);
  }
  return "(none)";
}

}  // namespace itgtd::iscsi::testing

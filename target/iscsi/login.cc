#include "target/iscsi/login.h"

#include <bitset>
#include <optional>
#include <set>
#include <utility>

#include "target/iscsi/chap.h"
#include "target/iscsi/iscsi_name.h"
#include "target/iscsi/login_stage.h"
#include "target/iscsi/negotiation.h"
#include "target/iscsi/text_keys.h"

namespace itgtd::iscsi {
namespace {

struct Failure {
  LoginStatus status = LoginStatus::initiator_error;
  std::string reason;
  std::string text;  // the key that was rejected, for the initiator's log
};
using Outcome = std::optional<Failure>;

// The known keys of one text by Key, and the others in the order they came. Borrows the text.
struct Offers {
  std::array<std::optional<std::string_view>, kKeys> known;
  std::vector<std::string_view> unknown;
  std::set<std::string_view> unknown_seen;

  [[nodiscard]] const std::optional<std::string_view>& operator[](Key key) const {
    return known[static_cast<size_t>(key)];
  }
};

Failure initiator_error(std::string reason) {
  return {LoginStatus::initiator_error, std::move(reason), {}};
}

size_t value_bytes_max(const KeyEntry& entry) {
  const bool long_value =
      entry.rule == KeyRule::list_first || entry.key == Key::chap_c || entry.key == Key::chap_r;
  return long_value ? kLongValueBytesMax : kSimpleValueBytesMax;
}

Outcome check_pair(const KeyEntry& entry, const TextPair& pair, LoginStage stage) {
  const std::string name(entry.name);
  const uint8_t phase = stage == LoginStage::security ? kInSecurity : kInOperational;
  if ((entry.phases & phase) == 0) return initiator_error(name + " has no place in this stage");
  if (entry.sender == KeySender::target) return initiator_error(name + " is the target's to send");
  // RFC 7143 §6.1.
  if (pair.value.size() > value_bytes_max(entry)) return initiator_error(name + " is too long");
  return std::nullopt;
}

// Everything a login knows between two requests, and its steps.
class LoginMachine {
 public:
  LoginStep step(const Bhs& bhs, ConstBytes text, const LoginPolicy& policy, const FreshChallenge& challenge);

  Parameters parameters;
  SessionIdentity identity;
  uint32_t exp_cmd_sn = 1;
  uint32_t stat_sn = 1;

 private:
  Outcome check_header(const LoginRequestBhs& request, const LoginFlags& flags, size_t text_bytes);
  Outcome check_same_login(const LoginRequestBhs& request) const;
  void remember(const LoginRequestBhs& request, const LoginFlags& flags);

  Outcome judge(std::string_view text, const LoginFlags& flags, const LoginPolicy& policy,
                const FreshChallenge& challenge);
  Outcome acknowledge(ConstBytes text, const LoginFlags& flags, const LoginPolicy& policy);
  Outcome check_authenticated(const LoginFlags& flags) const;
  Outcome finish_stage(const LoginFlags& flags, const LoginPolicy& policy);
  Outcome collect(std::string_view text, LoginStage stage, Offers& offers);
  Outcome collect_pair(const TextPair& pair, LoginStage stage, Offers& offers);
  Outcome identify(const Offers& offers);
  Outcome identify_target(const Offers& offers);
  Outcome check_repeats(const Offers& offers);
  Outcome find_own_target(const LoginPolicy& policy);
  Outcome authenticate(const Offers& offers, const FreshChallenge& challenge);
  Outcome choose_method(std::string_view list, const ChapKeys& keys);
  Outcome negotiate(const Offers& offers);
  void declare_target();
  void declare_limits(const LoginPolicy& policy);

  [[nodiscard]] bool needs_authentication() const {
    return target_ != nullptr && target_->chap.has_value() &&
           chap_.state() != ChapExchange::State::authenticated;
  }
  [[nodiscard]] NegotiationPolicy negotiation_policy() const;

  LoginStep emit(const LoginRequestBhs& request, const LoginFlags& flags);
  LoginStep respond(const LoginRequestBhs& request, const LoginFlags& flags, std::string text,
                    LoginVerdict verdict);
  LoginStep fail(const Bhs& bhs, Failure failure);

  LoginPosition position_ = LoginPosition::start;
  bool over_ = false;             // true exactly when the verdict was full_feature or fail
  bool identified_ = false;       // true once the first complete text was judged to name who and what
  bool target_declared_ = false;  // true once TargetPortalGroupTag was said
  bool limits_declared_ = false;  // true once our MaxRecvDataSegmentLength was said
  uint32_t initiator_task_tag_ = 0;
  size_t requests_ = 0;
  size_t continuations_ = 0;
  size_t text_bytes_ = 0;    // of all requests
  std::string incoming_;     // a text that is not complete yet
  std::string outgoing_;     // an answer that has not left completely
  std::bitset<kKeys> seen_;  // keys of earlier texts
  ChapExchange chap_;
  const DirectoryTarget* target_ = nullptr;  // valid during one step: a reload may replace the directory
};

LoginStep LoginMachine::step(const Bhs& bhs, ConstBytes text, const LoginPolicy& policy,
                             const FreshChallenge& challenge) {
  ITGTD_ASSERT(!over_);
  ITGTD_ASSERT(policy.directory != nullptr);
  const auto* request = as<LoginRequestBhs>(bhs);
  if (request == nullptr) {
    return fail(
        bhs, {LoginStatus::invalid_during_login, "a PDU that is no Login Request came during the login", {}});
  }
  const LoginFlags flags = decode_login_flags(request->flags);
  if (auto failure = check_header(*request, flags, text.size())) return fail(bhs, std::move(*failure));
  remember(*request, flags);

  Outcome failure;
  if (!outgoing_.empty()) {
    failure = acknowledge(text, flags, policy);
  } else {
    incoming_.append(as_text(text));
    if (flags.continues) {
      // RFC 7143 §6.2: the answer to a request with the C bit has no text.
      return respond(*request, {false, false, flags.current, flags.current}, {}, LoginVerdict::more);
    }
    failure = judge(std::exchange(incoming_, {}), flags, policy, challenge);
  }
  target_ = nullptr;
  if (failure) return fail(bhs, std::move(*failure));
  return emit(*request, flags);
}

Outcome LoginMachine::check_header(const LoginRequestBhs& request, const LoginFlags& flags,
                                   size_t text_bytes) {
  // RFC 7143 §11.12.4: version 0x00 is the only one.
  if (request.version_min != 0) return Failure{LoginStatus::unsupported_version, "Version-min is not 0", {}};
  if (request.total_ahs_length != 0) return initiator_error("a Login Request has an AHS");
  if (text_bytes > kLoginTextPduBytesMax) return initiator_error("a Login Request is longer than 8192 bytes");
  if (!is_legal(position_, flags)) return initiator_error("T, C, CSG and NSG do not fit the login's stage");
  // RFC 7143 §6.3.1: a TSIH other than 0 adds a connection to a session, and ours have one only. Which
  // sessions there are must not be learnt before authentication, so they are all unknown.
  if (request.tsih.get() != 0) {
    return Failure{LoginStatus::session_does_not_exist, "the login is for an existing session", {}};
  }
  if (position_ != LoginPosition::start) {
    if (auto failure = check_same_login(request)) return failure;
  }
  continuations_ = flags.continues ? continuations_ + 1 : continuations_;
  text_bytes_ += text_bytes;
  if (++requests_ > kLoginRequestsMax) return initiator_error("the login takes too many requests");
  if (continuations_ > kLoginContinuationsMax) return initiator_error("too many requests with the C bit");
  if (text_bytes_ > kLoginTextBytesMax) return initiator_error("the login has too much text");
  return std::nullopt;
}

Outcome LoginMachine::check_same_login(const LoginRequestBhs& request) const {
  // RFC 7143 §6.3, §11.12.5, §11.12.7: what names the login does not change within it.
  if (request.isid != identity.isid) return initiator_error("the ISID changed during the login");
  if (request.cid.get() != identity.cid) return initiator_error("the CID changed during the login");
  if (request.initiator_task_tag.get() != initiator_task_tag_) {
    return initiator_error("the Initiator Task Tag changed during the login");
  }
  return std::nullopt;
}

void LoginMachine::remember(const LoginRequestBhs& request, const LoginFlags& flags) {
  if (position_ != LoginPosition::start) return;
  identity.isid = request.isid;
  identity.cid = request.cid.get();
  initiator_task_tag_ = request.initiator_task_tag.get();
  // RFC 7143 §11.12.8: login requests are immediate; the first command of the full feature phase carries the
  // CmdSN that the login carried.
  exp_cmd_sn = request.cmd_sn.get();
  position_ = flags.current == LoginStage::security ? LoginPosition::security : LoginPosition::operational;
}

Outcome LoginMachine::judge(std::string_view text, const LoginFlags& flags, const LoginPolicy& policy,
                            const FreshChallenge& challenge) {
  Offers offers;
  if (auto failure = collect(text, flags.current, offers)) return failure;
  if (auto failure = identified_ ? check_repeats(offers) : identify(offers)) return failure;
  if (auto failure = find_own_target(policy)) return failure;
  identified_ = true;
  declare_target();

  if (flags.current == LoginStage::security) {
    if (auto failure = authenticate(offers, challenge)) return failure;
  }
  if (auto failure = check_authenticated(flags)) return failure;
  if (auto failure = negotiate(offers)) return failure;
  return finish_stage(flags, policy);
}

// RFC 7143 §6.3.2: an initiator that leaves the security stage out, or leaves it before it was authenticated,
// has not been authenticated.
Outcome LoginMachine::check_authenticated(const LoginFlags& flags) const {
  const bool leaves = flags.current == LoginStage::operational || (flags.transit && !chap_.running());
  if (!needs_authentication() || !leaves) return std::nullopt;
  return Failure{LoginStatus::authentication_failure, "the target requires CHAP", {}};
}

// What is due before the answer to a request that may end its stage, or the login.
Outcome LoginMachine::finish_stage(const LoginFlags& flags, const LoginPolicy& policy) {
  const bool last = flags.transit && flags.next == LoginStage::full_feature && !chap_.running();
  if (flags.current == LoginStage::operational || last) declare_limits(policy);
  if (outgoing_.size() > kLoginAnswerBytesMax) return initiator_error("the answer would be too long");
  const char* miss = last ? check_parameters(negotiation_policy(), parameters) : nullptr;
  if (miss != nullptr) return initiator_error(miss);
  return std::nullopt;
}

// A request that only acknowledges a part of an answer. It may carry the T bit, so it is judged like others.
Outcome LoginMachine::acknowledge(ConstBytes text, const LoginFlags& flags, const LoginPolicy& policy) {
  // RFC 7143 §6.2: an answer with the C bit is acknowledged by a request without text.
  if (!text.empty() || flags.continues) {
    return initiator_error("text came while an answer was still being sent");
  }
  if (auto failure = find_own_target(policy)) return failure;
  if (auto failure = check_authenticated(flags)) return failure;
  return finish_stage(flags, policy);
}

Outcome LoginMachine::collect(std::string_view text, LoginStage stage, Offers& offers) {
  const TextPairs split = split_pairs(text);
  if (split.error != TextError::none) return initiator_error(std::string(describe(split.error)));
  for (const TextPair& pair : split.pairs) {
    if (auto failure = collect_pair(pair, stage, offers)) return failure;
  }
  for (size_t i = 0; i < kKeys; ++i) seen_[i] = seen_[i] || offers.known[i].has_value();
  return std::nullopt;
}

Outcome LoginMachine::collect_pair(const TextPair& pair, LoginStage stage, Offers& offers) {
  const KeyEntry* entry = find_key(pair.key);
  if (entry == nullptr) {
    // Again in a later text is let pass: what means nothing to us can't contradict itself.
    if (!offers.unknown_seen.insert(pair.key).second) return initiator_error("a key came twice");
    offers.unknown.push_back(pair.key);
    return std::nullopt;
  }
  if (auto failure = check_pair(*entry, pair, stage)) return failure;
  const auto index = static_cast<size_t>(entry->key);
  // RFC 7143 §6.2: a key is declared or negotiated once; the initiator must not ask again.
  if (offers.known[index] || (seen_[index] && !entry->repeatable)) {
    return initiator_error(std::string(entry->name) + " came twice");
  }
  offers.known[index] = pair.value;
  return std::nullopt;
}

Outcome LoginMachine::identify(const Offers& offers) {
  // RFC 7143 §13.5: InitiatorName is in the first request of every login.
  const auto& name = offers[Key::initiator_name];
  if (!name) return Failure{LoginStatus::missing_parameter, "InitiatorName is missing", {}};
  if (!is_iscsi_name(*name)) return initiator_error("InitiatorName is not an iSCSI name");
  identity.initiator_name = normalised_name(*name);
  if (offers[Key::initiator_alias]) identity.initiator_alias = *offers[Key::initiator_alias];

  // RFC 7143 §13.21: Normal unless it says otherwise.
  const std::string_view type = offers[Key::session_type].value_or("Normal");
  if (type == "Discovery") {
    identity.type = SessionType::discovery;
    return std::nullopt;
  }
  if (type != "Normal") {
    return Failure{
        LoginStatus::session_type_not_supported, "SessionType is neither Normal nor Discovery", {}};
  }
  return identify_target(offers);
}

Outcome LoginMachine::identify_target(const Offers& offers) {
  // RFC 7143 §13.4: a normal session names its target in the first request.
  const auto& name = offers[Key::target_name];
  if (!name) return Failure{LoginStatus::missing_parameter, "TargetName is missing", {}};
  identity.target_name = normalised_name(*name);
  return std::nullopt;
}

Outcome LoginMachine::check_repeats(const Offers& offers) {
  const auto& name = offers[Key::initiator_name];
  const auto& target = offers[Key::target_name];
  const auto& type = offers[Key::session_type];
  const auto& alias = offers[Key::initiator_alias];
  const bool is_normal = identity.type == SessionType::normal;
  if (name && !same_name(*name, identity.initiator_name)) return initiator_error("InitiatorName changed");
  if (target && is_normal && !same_name(*target, identity.target_name)) {
    return initiator_error("TargetName changed");
  }
  if (type && *type != (is_normal ? "Normal" : "Discovery")) return initiator_error("SessionType changed");
  if (!alias) return std::nullopt;
  if (!identity.initiator_alias.empty() && identity.initiator_alias != *alias) {
    return initiator_error("InitiatorAlias changed");
  }
  identity.initiator_alias = *alias;
  return std::nullopt;
}

// Looks the target up anew in each step, as a reload may have changed or removed it since the last one.
Outcome LoginMachine::find_own_target(const LoginPolicy& policy) {
  if (identity.type == SessionType::discovery) return std::nullopt;
  target_ = find_target(*policy.directory, identity.target_name);
  if (target_ == nullptr || !is_served_at(*target_, policy.local)) {
    if (identified_) return Failure{LoginStatus::target_removed, "the target was removed meanwhile", {}};
    return Failure{LoginStatus::target_not_found, "no target of this name is served at this address", {}};
  }
  // A target that exists but does not admit this initiator says so: the names are no secret (they cross
  // the network in clear text), and "authorization failure" leads an operator to the list to correct.
  if (!may_access(*target_, identity.initiator_name, policy.peer)) {
    return Failure{LoginStatus::authorization_failure, "the target's lists do not admit the initiator", {}};
  }
  identity.target_name = target_->name;
  identity.target_portal_group_tag = target_->portal_group_tag;
  return std::nullopt;
}

void LoginMachine::declare_target() {
  if (target_ == nullptr || std::exchange(target_declared_, true)) return;
  // RFC 7143 §13.9: in the first response of a normal session's login, hence before anything else.
  append_pair(outgoing_, entry_of(Key::target_portal_group_tag).name,
              std::to_string(target_->portal_group_tag));
  if (!target_->alias.empty()) append_pair(outgoing_, entry_of(Key::target_alias).name, target_->alias);
}

void LoginMachine::declare_limits(const LoginPolicy& policy) {
  if (std::exchange(limits_declared_, true)) return;
  parameters.max_recv_data_segment_length_target = policy.max_recv_data_segment_length;
  append_pair(outgoing_, entry_of(Key::max_recv_data_segment_length).name,
              std::to_string(policy.max_recv_data_segment_length));
}

Outcome LoginMachine::authenticate(const Offers& offers, const FreshChallenge& challenge) {
  const ChapKeys keys{offers[Key::chap_a], offers[Key::chap_i], offers[Key::chap_c], offers[Key::chap_n],
                      offers[Key::chap_r]};
  if (offers[Key::auth_method]) return choose_method(*offers[Key::auth_method], keys);
  if (!chap_.running()) {
    if (keys.none()) return std::nullopt;
    return initiator_error("CHAP keys came without CHAP having been chosen");
  }
  if (target_ == nullptr || !target_->chap) {
    return Failure{
        LoginStatus::authentication_failure, "the target's credentials were removed meanwhile", {}};
  }
  const char* miss = chap_.step(keys, *target_->chap, challenge.identifier, challenge.challenge, outgoing_);
  if (miss != nullptr) return Failure{LoginStatus::authentication_failure, miss, {}};
  if (chap_.state() == ChapExchange::State::authenticated) identity.chap_user = target_->chap->user;
  return std::nullopt;
}

// RFC 7143 §12.1: we would take CHAP where there are credentials to check, and have no use for it otherwise.
Outcome LoginMachine::choose_method(std::string_view list, const ChapKeys& keys) {
  const std::string_view name = entry_of(Key::auth_method).name;
  const bool chap = needs_authentication();
  const auto chosen = list_first(chap ? "CHAP" : "None", list);
  if (!chosen) {
    Failure failure{LoginStatus::authentication_failure, "", {}};
    failure.reason = chap ? "the target requires CHAP, which the initiator does not offer"
                          : "the initiator insists on an authentication that the target does not do";
    append_pair(failure.text, name, "Reject");
    return failure;
  }
  if (!keys.none()) return initiator_error("CHAP keys came together with AuthMethod");
  append_pair(outgoing_, name, *chosen);
  if (chap) chap_.begin();
  return std::nullopt;
}

NegotiationPolicy LoginMachine::negotiation_policy() const {
  NegotiationPolicy policy;
  policy.session_type = identity.type;
  if (target_ == nullptr) return policy;
  policy.header_digest = target_->header_digest;
  policy.data_digest = target_->data_digest;
  return policy;
}

// In the order of the table, so that FirstBurstLength is judged when MaxBurstLength is known.
Outcome LoginMachine::negotiate(const Offers& offers) {
  const NegotiationPolicy policy = negotiation_policy();
  for (const KeyEntry& entry : key_table()) {
    const auto& offer = offers[entry.key];
    const bool operational = (entry.phases & kInLogin) == kInOperational;
    if (!offer || !operational) continue;
    const std::string answer = answer_offer(entry, *offer, policy, parameters);
    if (is_failure(entry, answer)) {
      Failure failure = initiator_error("the offer for " + std::string(entry.name) + " is not acceptable");
      append_pair(failure.text, entry.name, answer);
      return failure;
    }
    if (!answer.empty()) append_pair(outgoing_, entry.name, answer);
  }
  for (const std::string_view key : offers.unknown) {
    append_pair(outgoing_, key, "NotUnderstood");  // RFC 7143 §6.2
    if (outgoing_.size() > kLoginAnswerBytesMax) return initiator_error("too many unknown keys");
  }
  return std::nullopt;
}

LoginStep LoginMachine::emit(const LoginRequestBhs& request, const LoginFlags& flags) {
  LoginFlags answer{false, false, flags.current, flags.current};
  if (outgoing_.size() > kLoginTextPduBytesMax) {
    // RFC 7143 §11.13.7: more follows, so no transition yet.
    answer.continues = true;
    std::string part = outgoing_.substr(0, kLoginTextPduBytesMax);
    outgoing_.erase(0, kLoginTextPduBytesMax);
    return respond(request, answer, std::move(part), LoginVerdict::more);
  }
  std::string text = std::exchange(outgoing_, {});
  // RFC 7143 §11.13.6: T only in answer to T, and not while keys are still due.
  if (!flags.transit || chap_.running()) return respond(request, answer, std::move(text), LoginVerdict::more);
  answer.transit = true;
  answer.next = flags.next;
  position_ = LoginPosition::operational;
  const bool over = flags.next == LoginStage::full_feature;
  return respond(request, answer, std::move(text), over ? LoginVerdict::full_feature : LoginVerdict::more);
}

LoginStep LoginMachine::respond(const LoginRequestBhs& request, const LoginFlags& flags, std::string text,
                                LoginVerdict verdict) {
  over_ = verdict != LoginVerdict::more;
  LoginStep step;
  step.verdict = verdict;
  LoginResponseBhs& bhs = step.response.bhs;
  bhs = {};
  bhs.opcode = static_cast<uint8_t>(Opcode::login_response);
  bhs.flags = encode_login_flags(flags);
  bhs.data_segment_length.set(static_cast<uint32_t>(text.size()));
  bhs.isid = request.isid;
  bhs.tsih = request.tsih;
  bhs.initiator_task_tag = request.initiator_task_tag;
  bhs.stat_sn.set(stat_sn++);
  bhs.exp_cmd_sn.set(exp_cmd_sn);
  bhs.max_cmd_sn.set(exp_cmd_sn);  // room for one command; the session opens the window with its first PDU
  step.response.text = std::move(text);
  return step;
}

LoginStep LoginMachine::fail(const Bhs& bhs, Failure failure) {
  LoginRequestBhs request{};
  request.initiator_task_tag = bhs.initiator_task_tag;
  request.isid = identity.isid;
  if (const auto* login = as<LoginRequestBhs>(bhs)) request = *login;
  LoginFlags flags;
  flags.current = flags.next = decode_login_flags(request.flags).current;
  LoginStep step = respond(request, flags, std::move(failure.text), LoginVerdict::fail);
  const auto status = static_cast<uint16_t>(failure.status);
  step.response.bhs.status_class = static_cast<uint8_t>(status >> 8);
  step.response.bhs.status_detail = static_cast<uint8_t>(status & 0xFF);
  step.reason = std::move(failure.reason);
  return step;
}

}  // namespace

struct LoginState::Impl : LoginMachine {};

LoginState::LoginState() : impl_(std::make_unique<Impl>()) {}
LoginState::~LoginState() = default;
LoginState::LoginState(LoginState&&) noexcept = default;
LoginState& LoginState::operator=(LoginState&&) noexcept = default;

const Parameters& LoginState::parameters() const {
  return impl_->parameters;
}
const SessionIdentity& LoginState::identity() const {
  return impl_->identity;
}
uint32_t LoginState::exp_cmd_sn() const {
  return impl_->exp_cmd_sn;
}
uint32_t LoginState::stat_sn() const {
  return impl_->stat_sn;
}

LoginStep login_step(LoginState& state, const Bhs& request, ConstBytes text, const LoginPolicy& policy,
                     const FreshChallenge& challenge) {
  return state.impl_->step(request, text, policy, challenge);
}

}  // namespace itgtd::iscsi

#include "target/connection.h"

#include <algorithm>

#include "base/log.h"
#include "base/random.h"
#include "net/socket.h"

namespace itgtd::target {
namespace {

using iscsi::OutPdu;
using iscsi::PduReceiver;

/// A discovery session asks its questions and leaves; one that stays silent is closed rather than pinged.
constexpr std::chrono::seconds kDiscoveryIdle{60};

iscsi::FreshChallenge fresh_challenge() {
  iscsi::FreshChallenge fresh;
  std::array<std::byte, 1> identifier{};
  random_bytes(identifier);
  random_bytes(fresh.challenge);
  fresh.identifier = static_cast<uint8_t>(identifier[0]);
  return fresh;
}

iovec piece(const std::byte* data, size_t bytes) {
  // The kernel only reads what a sendmsg names; iovec has no const form.
  return {const_cast<std::byte*>(data), bytes};
}

}  // namespace

Connection::Connection(ConnectionContext& context, Start start, Instant now)
    : context_(context),
      start_(std::move(start)),
      receiver_(kReceiveBufferBytes),
      login_(std::make_unique<iscsi::LoginState>()),
      challenge_(fresh_challenge()),
      accepted_(now),
      last_received_(now),
      last_sent_(now) {
  receiver_.set_segment_limit(kLoginSegmentMax);
}

Connection::~Connection() {
  ITGTD_ASSERT(finished());
  while (OutPdu* pdu = sending_.pop_front()) release_sent(*pdu);
  while (OutPdu* pdu = pending_.pop_front()) context_.resources.pdus.release(*pdu);
  // Behind a send that was still in flight more may have been queued.
  while (OutPdu* pdu = session_ ? session_->out().front() : nullptr) session_->on_sent(*pdu);
}

std::string Connection::name() const {
  std::string initiator;
  if (session_) {
    initiator = session_->identity().initiator_name;
  } else if (login_) {
    initiator = login_->identity().initiator_name;
  }
  return initiator.empty() ? start_.peer.to_string() : start_.peer.to_string() + " " + initiator;
}

// --- Receiving
// ---------------------------------------------------------------------------------------------------

void Connection::on_received(int32_t result, Instant now) {
  receive_in_flight_ = false;
  if (state_ == State::closing) return;
  if (result <= 0) {
    if (result == -EINTR || result == -EAGAIN) return;  // pump() asks again
    const bool reset = result < 0 && result != -ECONNRESET && result != -EPIPE;
    close(reset ? std::string("receive: ") + std::strerror(-result) : std::string());
    return;
  }
  last_received_ = now;
  receiver_.commit(static_cast<size_t>(result));
  parse();
}

void Connection::parse() {
  parse_paused_ = false;
  while (state_ == State::login || state_ == State::full_feature) {
    if (fail_after_send_ || (session_ && session_->ending() != iscsi::Ending::open)) return;
    if (session_ && session_->congested()) {
      // An initiator that does not read is not listened to: TCP tells it so.
      parse_paused_ = true;
      return;
    }
    switch (receiver_.next()) {
      case PduReceiver::Event::need_more:
        return;
      case PduReceiver::Event::header:
        on_header();
        break;
      case PduReceiver::Event::data:
        on_data();
        break;
      case PduReceiver::Event::header_digest_error:
        // RFC 7143 §7.8: with ErrorRecoveryLevel 0 the connection is beyond repair.
        close("header digest error");
        return;
      case PduReceiver::Event::segment_too_long:
        close("data segment longer than MaxRecvDataSegmentLength");
        return;
    }
  }
}

void Connection::on_header() {
  if (session_) {
    receiver_.set_destination(session_->on_header(receiver_.pdu()));
    return;
  }
  login_text_.resize(receiver_.pdu().bhs->data_segment_length.get());
  receiver_.set_destination(login_text_);
}

void Connection::on_data() {
  if (session_) {
    session_->on_data(receiver_.pdu(), receiver_.segment(), receiver_.data_digest_ok());
  } else {
    on_login_data();
  }
}

bool Connection::may_receive() {
  if (receive_in_flight_ || announced_ || fail_after_send_) return false;
  // The initiator has nothing to say before the login is answered, but may go; that is what is waited for.
  if (state_ == State::opening) return !receiver_.in_pdu() && !receiver_.writable().empty();
  if (state_ != State::login && state_ != State::full_feature) return false;
  // What a command in flight still needs is its data; then there is nothing left to wait for.
  if (draining_ && (!session_ || session_->in_flight() == 0)) return false;
  return !session_ || (session_->ending() == iscsi::Ending::open && !parse_paused_);
}

void Connection::start_receive() {
  if (!may_receive()) return;
  size_t count = 0;
  for (const Bytes part : {receiver_.body(), receiver_.writable()}) {
    if (!part.empty()) receive_pieces_[count++] = {part.data(), part.size()};
  }
  receive_message_.msg_iov = receive_pieces_.data();
  receive_message_.msg_iovlen = count;
  receive_in_flight_ = true;
  context_.ring.receive({net::OpKind::receive, start_.slot}, start_.fd, &receive_message_);
}

// --- Login
// -------------------------------------------------------------------------------------------------------

void Connection::on_login_data() {
  iscsi::LoginPolicy policy;
  policy.directory = context_.directory.get();
  policy.peer = start_.peer;
  policy.local = start_.local;
  policy.max_recv_data_segment_length = kMaxRecvDataSegmentLength;
  iscsi::LoginStep step =
      iscsi::login_step(*login_, *receiver_.pdu().bhs, receiver_.segment(), policy, challenge_);
  switch (step.verdict) {
    case iscsi::LoginVerdict::more:
      queue_login_response(std::move(step.response));
      return;
    case iscsi::LoginVerdict::fail:
      log::warning("{}: login failed: {}", name(), step.reason);
      queue_login_response(std::move(step.response));
      fail_after_send_ = true;
      return;
    case iscsi::LoginVerdict::full_feature:
      held_response_ = std::move(step.response);
      open_request_ = true;
      state_ = State::opening;
      return;
  }
}

bool Connection::take_open_request() {
  return std::exchange(open_request_, false);
}

void Connection::queue_login_response(iscsi::LoginResponse response) {
  // A response is only due for a request, and the next request is not read before this one has left: one text
  // at a time.
  OutPdu* pdu = login_pdus_ == 0 ? context_.resources.pdus.acquire() : nullptr;
  if (pdu == nullptr) {
    close(login_pdus_ == 0 ? "out of memory for PDUs" : "login request before the last one was answered");
    return;
  }
  login_response_text_ = std::move(response.text);
  response.bhs.data_segment_length.set(static_cast<uint32_t>(login_response_text_.size()));
  store(pdu->header, response.bhs);
  pdu->header_bytes = iscsi::kBhsBytes;
  pdu->data = as_bytes(login_response_text_);
  pdu->trailer = {};
  pdu->trailer_bytes =
      static_cast<uint8_t>(iscsi::padding_of(static_cast<uint32_t>(login_response_text_.size())));
  pdu->task = nullptr;
  pdu->owned = {};
  pending_.push_back(*pdu);
  ++login_pdus_;
}

void Connection::on_session_opened(Key target, const scsi::LunMap* luns, scsi::NexusId nexus, uint16_t tsih,
                                   Instant now) {
  ITGTD_ASSERT(state_ == State::opening);
  nexus_id_ = nexus;
  target_ = target;
  iscsi::Session::Start start;
  start.parameters = login_->parameters();
  start.identity = login_->identity();
  start.identity.tsih = tsih;
  if (luns != nullptr) {
    scsi::InitiatorPort port{start.identity.initiator_name, start.identity.isid};
    start.nexus = std::make_unique<scsi::Nexus>(nexus, std::move(port), luns);
  }
  start.directory = context_.directory;
  start.requester = {start.identity.initiator_name, start_.peer, start_.local};
  start.exp_cmd_sn = login_->exp_cmd_sn();
  start.stat_sn = login_->stat_sn();

  held_response_->bhs.tsih.set(tsih);
  queue_login_response(std::move(*held_response_));
  held_response_.reset();
  if (state_ == State::closing) return;

  const iscsi::Parameters& parameters = login_->parameters();
  receiver_.set_digests(parameters.header_digest, parameters.data_digest);
  receiver_.set_segment_limit(kMaxRecvDataSegmentLength);
  session_ = std::make_unique<ConnectionSession>(context_.resources, std::move(start), this);
  login_.reset();
  login_text_ = {};
  state_ = State::full_feature;
  last_received_ = now;
  // A receive that is under way has the buffer, which is empty then: see may_receive().
  if (!receive_in_flight_) parse();  // what came behind the last login request
}

void Connection::on_session_refused(iscsi::LoginStatus status) {
  ITGTD_ASSERT(state_ == State::opening);
  iscsi::LoginResponse response = std::move(*held_response_);
  held_response_.reset();
  const auto code = static_cast<uint16_t>(status);
  response.bhs.flags = 0;
  response.bhs.status_class = static_cast<uint8_t>(code >> 8);
  response.bhs.status_detail = static_cast<uint8_t>(code & 0xFF);
  response.text.clear();
  state_ = State::login;
  queue_login_response(std::move(response));
  fail_after_send_ = true;
}

// --- Sending
// -----------------------------------------------------------------------------------------------------

void Connection::add_pieces(const OutPdu& pdu) {
  iovec* to = send_pieces_.data() + send_piece_count_;
  *to++ = piece(pdu.header.data(), pdu.header_bytes);
  if (!pdu.data.empty()) *to++ = piece(pdu.data.data(), pdu.data.size());
  if (pdu.trailer_bytes != 0) *to++ = piece(pdu.trailer.data(), pdu.trailer_bytes);
  send_piece_count_ = static_cast<size_t>(to - send_pieces_.data());
  sending_bytes_ += pdu.size_bytes();
}

void Connection::add_rest(const OutPdu& pdu, size_t skip_bytes) {
  const std::array<ConstBytes, 3> parts = {ConstBytes(pdu.header).first(pdu.header_bytes), pdu.data,
                                           ConstBytes(pdu.trailer).first(pdu.trailer_bytes)};
  for (ConstBytes part : parts) {
    const size_t skipped = std::min(skip_bytes, part.size());
    skip_bytes -= skipped;
    part = part.subspan(skipped);
    if (part.empty()) continue;
    send_pieces_[send_piece_count_++] = piece(part.data(), part.size());
    sending_bytes_ += part.size();
  }
}

void Connection::gather() {
  send_piece_count_ = 0;
  sending_bytes_ = 0;
  size_t skip_bytes = head_sent_bytes_;
  for (OutPdu* pdu = sending_.front(); pdu != nullptr; pdu = sending_.next(*pdu)) {
    add_rest(*pdu, skip_bytes);
    skip_bytes = 0;
  }
  while (send_piece_count_ + 3 <= kSendPiecesMax && sending_bytes_ < kSendBytesMax) {
    OutPdu* pdu = pending_.pop_front();
    if (pdu == nullptr && session_) pdu = session_->out().pop_front();
    if (pdu == nullptr) break;
    sending_.push_back(*pdu);
    add_pieces(*pdu);
  }
}

void Connection::start_send(Instant now) {
  if (send_in_flight_ || muted_ || state_ == State::closing) return;
  gather();
  if (send_piece_count_ == 0) return;
  send_message_.msg_iov = send_pieces_.data();
  send_message_.msg_iovlen = send_piece_count_;
  send_in_flight_ = true;
  last_sent_ = now;
  context_.ring.send({net::OpKind::send, start_.slot}, start_.fd, &send_message_);
}

void Connection::release_sent(OutPdu& pdu) {
  if (login_pdus_ > 0) {
    --login_pdus_;
    context_.resources.pdus.release(pdu);
  } else {
    session_->on_sent(pdu);
  }
}

void Connection::on_sent(int32_t result, Instant now) {
  send_in_flight_ = false;
  if (result > 0) {
    last_sent_ = now;
    size_t left = static_cast<size_t>(result) + head_sent_bytes_;
    head_sent_bytes_ = 0;
    while (OutPdu* pdu = sending_.front()) {
      const size_t bytes = pdu->size_bytes();
      if (left < bytes) {
        head_sent_bytes_ = left;  // a short send: the rest goes first next time
        break;
      }
      left -= bytes;
      sending_.remove(*pdu);
      release_sent(*pdu);
    }
    return;
  }
  if (result == -EINTR || result == -EAGAIN) return;
  close(result == -EPIPE || result == -ECONNRESET || result == -ECANCELED
            ? std::string()
            : std::string("send: ") + std::strerror(-result));
}

bool Connection::everything_sent() {
  return !send_in_flight_ && sending_.empty() && pending_.empty() && (!session_ || session_->out().empty());
}

// --- Turn, time and end
// ----------------------------------------------------------------------------------------------

void Connection::pump(Instant now) {
  if (state_ == State::closing) return;
  if (session_ && session_->ending() == iscsi::Ending::at_once) {
    close("protocol error");
    return;
  }
  if (draining_ && !announced_ && session_ && session_->in_flight() == 0 && session_->executing() == 0 &&
      everything_sent()) {
    close_announced("");
  }
  if (parse_paused_ && !session_->congested()) parse();
  start_send(now);
  const bool last_words = fail_after_send_ || (announced_ && !stays_open_) || (draining_ && !session_) ||
                          (session_ && session_->ending() == iscsi::Ending::after_send);
  if (last_words && everything_sent()) {
    close("");
    return;
  }
  start_receive();
}

void Connection::close(std::string_view reason) {
  if (state_ == State::closing) return;
  if (!reason.empty()) log::warning("{}: connection closed: {}", name(), reason);
  state_ = State::closing;
  if (session_) session_->shut_down();
  shutdown_in_flight_ = true;
  context_.ring.shutdown({net::OpKind::shutdown, start_.slot}, start_.fd);
}

void Connection::drain() {
  draining_ = true;
  if (session_) session_->refuse_commands();
  if (state_ == State::opening || state_ == State::login) close("");
}

void Connection::close_announced(std::string_view reason) {
  stays_open_ = false;
  if (state_ == State::closing || announced_) return;
  if (!session_) {
    close(reason);
    return;
  }
  if (!reason.empty()) log::info("{}: session ends: {}", name(), reason);
  announced_ = true;
  // RFC 7143 §11.9.1, event 3: all connections of the session are dropped; it may come back after Parameter2
  // seconds (0) for Parameter3 seconds.
  session_->send_async(iscsi::AsyncEvent::session_dropped, 0, 0, session_->parameters().default_time2retain);
}

void Connection::announce_end() {
  if (state_ == State::closing || announced_) return;
  close_announced("");
  stays_open_ = true;
}

bool Connection::announcement_sent() {
  return state_ == State::closing || (everything_sent() && net::unsent_bytes(start_.fd) == 0);
}

void Connection::end_silently() {
  net::reset_on_close(start_.fd);
  if (state_ != State::closing) {
    state_ = State::closing;
    if (session_) session_->shut_down();
  }
  // No shutdown: it would send what is queued, and a FIN behind it.
  if (receive_in_flight_) context_.ring.cancel({net::OpKind::receive, start_.slot});
  if (send_in_flight_) context_.ring.cancel({net::OpKind::send, start_.slot});
}

void Connection::set_muted(bool muted, Instant now) {
  muted_ = muted;
  // What the initiator could not be asked, or told, is no fault of its.
  if (!muted) last_received_ = last_sent_ = now;
}

void Connection::on_shut_down() {
  shutdown_in_flight_ = false;
}

bool Connection::finished() const {
  return state_ == State::closing && !receive_in_flight_ && !send_in_flight_ && !shutdown_in_flight_ &&
         (!session_ || session_->executing() == 0);
}

Instant Connection::next_deadline() const {
  if (state_ == State::login || state_ == State::opening) return accepted_ + kLoginTime;
  if (state_ == State::closing || muted_ || stays_open_) return Instant::max();
  Instant deadline = is_discovery() ? last_received_ + kDiscoveryIdle : nop_due();
  if (session_->nop_in_outstanding()) deadline = nop_answer_due();
  return send_in_flight_ ? std::min(deadline, last_sent_ + kSendStallTime) : deadline;
}

Instant Connection::nop_due() const {
  // One for which there was no room in the send queue is due again after the same time, not at once.
  return std::max(nop_sent_, last_received_) + kIdleBeforeNop;
}

Instant Connection::nop_answer_due() const {
  // Behind megabytes on a slow path it arrives late; while those leave, the initiator lives.
  return std::max({nop_sent_, last_received_, last_sent_}) + kNopTime;
}

bool Connection::is_discovery() const {
  return session_ && session_->identity().type == iscsi::SessionType::discovery;
}

void Connection::on_timer(Instant now) {
  if (state_ == State::closing || muted_ || stays_open_) return;
  if (state_ != State::full_feature) {
    if (now >= accepted_ + kLoginTime) close("no complete login within 15 s");
    return;
  }
  check_alive(now);
}

void Connection::check_alive(Instant now) {
  if (send_in_flight_ && now >= last_sent_ + kSendStallTime) {
    close("the initiator does not read");
    return;
  }
  if (session_->nop_in_outstanding()) {
    if (now >= nop_answer_due()) close("no answer to NOP-In");
    return;
  }
  if (is_discovery()) {
    if (now >= last_received_ + kDiscoveryIdle) close("");
    return;
  }
  if (now < nop_due()) return;
  session_->send_nop_in();
  nop_sent_ = now;
}

}  // namespace itgtd::target

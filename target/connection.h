// One TCP connection: what is received goes through the receiver to the login or the session, what they leave
// is gathered into one sendmsg.
//
// Belongs to one worker's thread. It queues operations on the ring and is called back by the worker's
// completion switch; nothing is called upwards: what the worker must do is read from event() and finished().
//
// Teardown, once: close() -> shut down both directions -> join (no operation in the kernel, no task
// executing) -> the worker destroys it.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/intrusive_list.h"
#include "net/ring.h"
#include "net/timers.h"
#include "target/iscsi/login.h"
#include "target/iscsi/pdu_receiver.h"
#include "target/iscsi/session.h"
#include "target/limits.h"
#include "target/messages.h"

namespace itgtd::target {

class Connection;
struct DirtyTag;
struct TargetTag;

/// A session that knows its connection, so that a finished task finds the way out.
struct ConnectionSession : iscsi::Session {
  ConnectionSession(iscsi::SessionResources& resources, Start start, Connection* owner)
      : iscsi::Session(resources, std::move(start)), connection(owner) {}
  Connection* connection;
};

/// What every connection of a worker uses. Outlives them.
struct ConnectionContext {
  net::Ring& ring;
  iscsi::SessionResources& resources;
  /// The newest directory; replaced by a reload.
  std::shared_ptr<const iscsi::Directory> directory;
};

class Connection : public ListLink<DirtyTag>, public ListLink<TargetTag>, public net::Timer {
 public:
  struct Start {
    int fd = -1;  ///< owned from now on
    Key listener = 0;
    SlotId slot;  ///< what its operations carry
    Address peer;
    Address local;
  };
  enum class State : uint8_t {
    login,    ///< login requests are answered
    opening,  ///< the login is complete but for the registry's word; nothing is parsed
    full_feature,
    closing,  ///< shut down; waits for operations and tasks to end
  };

  Connection(ConnectionContext& context, Start start, Instant now);
  ~Connection();

  // Completions, from the worker's switch.
  void on_received(int32_t result, Instant now);
  void on_sent(int32_t result, Instant now);
  void on_shut_down();
  void on_timer(Instant now);

  // The registry's answers.
  void on_session_opened(Key target, const scsi::LunMap* luns, scsi::NexusId nexus, uint16_t tsih,
                         Instant now);
  void on_session_refused(iscsi::LoginStatus status);

  /// Starts what can be started: a send, a receive, the end. Called once a turn for each connection that
  /// something happened to.
  void pump(Instant now);
  /// Ends the connection. `reason` goes to the log unless it is empty.
  void close(std::string_view reason);
  /// Lets commands in flight finish, tells the initiator, closes.
  void drain();
  /// Tells the initiator that the session ends, and closes when that has left.
  void close_announced(std::string_view reason);
  /// Tells the initiator that the session ends, and takes nothing more; the socket stays open until close()
  /// or end_silently().
  void announce_end();
  /// What was queued when it was called, announce_end()'s message too, has left the socket.
  [[nodiscard]] bool announcement_sent();
  /// Ends the connection without another byte: what is queued is dropped, and the socket vanishes with a
  /// reset, which a closed gate keeps from the initiator.
  void end_silently();
  /// While muted nothing is sent, and no answer of the initiator is waited for.
  void set_muted(bool muted, Instant now);
  /// When the worker should call on_timer().
  [[nodiscard]] Instant next_deadline() const;

  [[nodiscard]] State state() const { return state_; }
  /// True once, when the login waits for the registry: the worker asks it.
  [[nodiscard]] bool take_open_request();
  [[nodiscard]] iscsi::SessionIdentity open_identity() const { return login_->identity(); }
  /// True when nothing in the kernel or in a backend refers to it any more: destroy it.
  [[nodiscard]] bool finished() const;
  [[nodiscard]] ConnectionSession* session() { return session_.get(); }
  [[nodiscard]] scsi::NexusId nexus_id() const { return nexus_id_; }
  [[nodiscard]] Key target() const { return target_; }
  [[nodiscard]] Key listener() const { return start_.listener; }
  [[nodiscard]] SlotId slot() const { return start_.slot; }
  [[nodiscard]] int fd() const { return start_.fd; }
  [[nodiscard]] const Address& peer() const { return start_.peer; }
  [[nodiscard]] const Address& local() const { return start_.local; }
  /// "192.168.222.254:51856 iqn..." for log lines.
  [[nodiscard]] std::string name() const;

 private:
  void parse();
  void on_header();
  void on_data();
  void on_login_data();
  void queue_login_response(iscsi::LoginResponse response);
  void start_receive();
  void start_send(Instant now);
  void gather();
  void add_pieces(const iscsi::OutPdu& pdu);
  void add_rest(const iscsi::OutPdu& pdu, size_t skip_bytes);
  void release_sent(iscsi::OutPdu& pdu);
  void check_alive(Instant now);
  [[nodiscard]] Instant nop_due() const;
  [[nodiscard]] Instant nop_answer_due() const;
  [[nodiscard]] bool is_discovery() const;
  [[nodiscard]] bool may_receive();
  [[nodiscard]] bool everything_sent();

  ConnectionContext& context_;
  Start start_;
  State state_ = State::login;
  iscsi::PduReceiver receiver_;

  std::unique_ptr<iscsi::LoginState> login_;  ///< null from the full feature phase on
  std::unique_ptr<ConnectionSession> session_;
  std::vector<std::byte> login_text_;  ///< the segment of the present login request
  iscsi::FreshChallenge challenge_;
  std::optional<iscsi::LoginResponse> held_response_;  ///< the last one, until the registry has answered
  std::string login_response_text_;                    ///< frozen while it is being sent
  uint32_t login_pdus_ = 0;       ///< PDUs in front of `sending_` and `pending_` that are the login's
  bool fail_after_send_ = false;  ///< the login has failed: close when its response has left
  bool open_request_ = false;
  Key target_ = 0;
  scsi::NexusId nexus_id_ = 0;

  // True exactly while the kernel has the operation; what it names is frozen.
  bool receive_in_flight_ = false;
  bool send_in_flight_ = false;
  bool shutdown_in_flight_ = false;
  bool parse_paused_ = false;  ///< bytes are here that the session can't take now
  bool draining_ = false;      ///< the daemon stops: commands in flight finish, nothing else is taken
  bool announced_ = false;     ///< the Async Message of the end has been queued
  bool stays_open_ = false;    ///< announced, but somebody else closes it
  bool muted_ = false;

  msghdr receive_message_{};
  std::array<iovec, 2> receive_pieces_{};

  iscsi::SendList pending_;     ///< login responses
  iscsi::SendList sending_;     ///< what the present sendmsg gathers, oldest first
  size_t head_sent_bytes_ = 0;  ///< of the first PDU in sending_, by an earlier, short send
  size_t sending_bytes_ = 0;
  msghdr send_message_{};
  size_t send_piece_count_ = 0;
  std::array<iovec, kSendPiecesMax> send_pieces_{};

  Instant accepted_;
  Instant last_received_;
  Instant last_sent_;
  Instant nop_sent_{};
};

}  // namespace itgtd::target

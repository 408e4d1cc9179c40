// Groups of targets that move between nodes, as the cluster asks for them (ha/group_service.h).
//
// A target of a group is configured on every node from the start: its listeners are bound and discovery finds
// it, but its disks are closed, and logins to it are parked. A group goes through
//
//   closed  ->  opening: what its units kept is restored, their disks are opened  ->  open
//   open  ->  quiesced: new commands are kept, initiators have been told  ->  closing  ->  closed
//
// Suspended, and without a lease, the workers keep its commands and send nothing; that comes on top of the
// phase. Belongs to the control thread; only the lease is read by the workers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ha/group_service.h"
#include "target/control/blocking_calls.h"
#include "target/control/event_loop.h"
#include "target/coordinator.h"
#include "target/service.h"

namespace itgtd::target {

class Groups final : public ha::GroupService {
 public:
  /// Made before the first configuration is applied. All outlive it. There is no lease before the first
  /// set_lease(): nothing of any group is served.
  Groups(control::EventLoop& loop, Coordinator& coordinator, Service& service);
  ~Groups() override;

  void start(const std::string& group, ha::Epoch epoch, Done done) override;
  void quiesce(const std::string& group, ha::TimeMs drain_ms, Done done) override;
  void stop(const std::string& group, Done done) override;
  void suspend(const std::string& group) override;
  void resume(const std::string& group) override;
  void set_lease(ha::TimeMs until) override;
  /// Pairs are reported as closed when the initiator knows that they are. Those that stop() ends are not: who
  /// takes over resets them.
  void set_on_sessions(OnSessions on_sessions) override;

  /// What has to come before the units of a group can be restored: asked in start() with their names in the
  /// store; an error ends the start. Nothing set: they are restored at once.
  using Prepare = std::function<void(const std::string& group, ha::Epoch epoch,
                                     const std::vector<std::string>& units, Done done)>;
  void set_prepare(Prepare prepare) { prepare_ = std::move(prepare); }
  /// Gives up what was prepared: asked when the disks of a group have been closed, or a start has failed.
  /// Whoever asked for that is answered when it is done.
  using Release = std::function<void(const std::string& group, std::function<void()> done)>;
  void set_release(Release release) { release_ = std::move(release); }

 private:
  enum class Phase : uint8_t { closed, opening, open, quiesced, closing };
  struct Quiesce;
  struct Group {
    Phase phase = Phase::closed;
    bool suspended = false;
    /// Grows with each start and stop: what was asked for by an older one is void.
    uint64_t turn = 0;
    std::vector<Done> when_done;       ///< of the start or stop that is under way
    std::shared_ptr<Quiesce> quiesce;  ///< null: none is under way; owners: this and what it waits for
    uint32_t calls = 0;                ///< blocking ones: they have a share of its media
    bool out = false;                  ///< closing: the workers have nothing of it any more
    bool releasing = false;            ///< closing: its disks are closed, and what was prepared is given up
    std::set<ha::TcpPair> pairs;       ///< that are open, as far as was reported
    std::vector<ha::TcpPair> opened;   ///< not reported yet
    std::vector<ha::TcpPair> closed;
    bool changed = false;  ///< to be reported
  };

  void open_media(const std::string& name);
  void on_opened(const std::string& name, std::vector<Service::OpenedMedium> media);
  void end_start(const std::string& name, const Result<void>& result);
  void serve_again(const std::string& name);
  void flush(const std::shared_ptr<Quiesce>& quiesce);
  void announce(const std::shared_ptr<Quiesce>& quiesce);
  void end_quiesce(const std::string& name, const Result<void>& result);
  void close_media(const std::string& name);
  void end_stop(const std::string& name);
  void release(const std::string& name, std::function<void()> done);
  void on_released(const std::string& name);
  /// Away from this thread, for the group: `next` when it is done.
  void call(const std::string& name, std::function<void()> work, std::function<void()> next);
  void on_connection(const std::string& name, const ha::TcpPair& pair, bool opened);
  void mark_changed(Group& group);
  void report();
  void govern(const std::string& name);

  control::EventLoop& loop_;
  Coordinator& coordinator_;
  Service& service_;
  control::BlockingCalls calls_;
  std::shared_ptr<Lease> lease_;  ///< owners: this and every worker
  std::map<std::string, Group> groups_;
  Prepare prepare_;
  Release release_;
  OnSessions on_sessions_;
  control::Subscription report_timer_;
};

}  // namespace itgtd::target

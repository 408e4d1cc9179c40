// What happened in the cluster, as this node saw it: the last notes, and each change of a group's owner with
// its steps and its pause. Pure but for what HistoryFile does; control thread.
//
// Every node notes every change of owner. The steps of a start or a stop are known to the node that took
// them, and only it has them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ha/core/step.h"
#include "target/control/event_loop.h"

namespace itgtd::ha {

constexpr size_t kHistoryNotesMax = 1000;
constexpr size_t kHistoryChangesMax = 100;
/// Of one change: a start and a stop have about a dozen.
constexpr size_t kHistoryStepsMax = 64;
/// Steps that come this long after the group was served again are not of the change any more.
constexpr TimeMs kHistoryStepsAfterMs = 10000;

/// One change of a group's owner.
struct OwnerChange {
  enum class Outcome : uint8_t {
    pending,    ///< not served yet
    active,     ///< served by `to`
    overtaken,  ///< the next change came first
    lost,       ///< this daemon ended before it was known
  };
  struct Step {
    TimeMs after_ms = 0;  ///< since the decision
    std::string text;
    bool operator==(const Step&) const = default;
  };
  std::string group;
  Epoch epoch = 0;
  std::string from;  ///< names; empty: nobody
  std::string to;
  Reason reason = Reason::first_start;
  TimeMs decided_at = 0;        ///< this node's clock (CLOCK_BOOTTIME)
  int64_t decided_unix_ms = 0;  ///< for people
  /// How long the owner before had been silent when it was decided; 0 unless it was lost.
  TimeMs silence_ms = 0;
  /// From the decision until it was served again, as this node learnt; nothing until then.
  /// Of what was served already when this node heard of the change: nothing for ever.
  std::optional<TimeMs> active_after_ms;
  Outcome outcome = Outcome::pending;
  std::string text;         ///< the last alarm of it, for people
  std::vector<Step> steps;  ///< those that this node took
  bool operator==(const OwnerChange&) const = default;

  /// From the last sign of the owner before (or from the decision, when it handed over) until it was served.
  [[nodiscard]] std::optional<TimeMs> pause_ms() const;
};

struct PastNote {
  int64_t unix_ms = 0;
  Note note;
};

class History {
 public:
  /// A note came out of a step at `now`; `unix_ms` is the wall clock; `status` is that after the step.
  void note(TimeMs now, int64_t unix_ms, const Note& note, const ClusterStatus& status);
  /// What the cluster is like now: finds that a group is served again. Called often while that is pending(),
  /// and every second.
  void observe(TimeMs now, int64_t unix_ms, const ClusterStatus& status);

  [[nodiscard]] const std::deque<OwnerChange>& changes() const { return changes_; }  ///< oldest first
  [[nodiscard]] const std::deque<PastNote>& notes() const { return notes_; }
  /// True exactly when a change is known and its end is not.
  [[nodiscard]] bool pending() const;
  /// Grows with each change of what to_json() says.
  [[nodiscard]] uint64_t version() const { return version_; }

  /// The newest `count` changes of `group` (empty: of all), oldest first, for `itgtctl history`; with
  /// `with_notes` the newest `count` notes too. JSON text.
  [[nodiscard]] std::string shown(const std::string& group, size_t count, bool with_notes,
                                  const std::string& this_node) const;

  /// As kept over a restart of the daemon. JSON text.
  [[nodiscard]] std::string to_json() const;
  /// Replaces what is there. What was pending is lost, as nobody knows how it went on.
  [[nodiscard]] Result<void> from_json(std::string_view text);

 private:
  [[nodiscard]] OwnerChange* change_of(const std::string& group, Epoch epoch);
  [[nodiscard]] OwnerChange* newest(const std::string& group);
  void begin(TimeMs now, int64_t unix_ms, const GroupStatus& group, const ClusterStatus& status);
  void learn(TimeMs now, const GroupStatus& group, const ClusterStatus& status);
  void add_step(TimeMs now, const Note& note);

  std::deque<OwnerChange> changes_;
  std::deque<PastNote> notes_;
  uint64_t version_ = 0;
};

/// Keeps a History in a file: read at start, written by rename at most once a second, and at the end.
class HistoryFile {
 public:
  /// Both outlive this. `watch` is called every second, and ten times a second while a change is pending, so
  /// that its pause is known: for History::observe().
  HistoryFile(control::EventLoop& loop, History& history, std::string path, std::function<void()> watch);
  ~HistoryFile();
  HistoryFile(const HistoryFile&) = delete;
  HistoryFile& operator=(const HistoryFile&) = delete;

  /// Reads the file; none is no error. One that can't be read is set aside as PATH.bad, and that is the
  /// error: the history begins anew, and nothing else is wrong.
  [[nodiscard]] Result<void> load();

 private:
  void arm();
  void on_tick();
  void save();

  control::EventLoop& loop_;
  History& history_;
  std::string path_;
  std::function<void()> watch_;
  uint64_t saved_version_ = 0;
  unsigned ticks_ = 0;    ///< since the last save was due
  bool failing_ = false;  ///< the last write failed, which has been logged
  control::Subscription timer_;
};

}  // namespace itgtd::ha

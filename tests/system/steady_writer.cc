// One write after another, for as long as it is told, over several portals of one LUN; each is read back, and
// the longest time that either took is told. It bears what Linux bears (open-iscsi with dm-multipath), and
// counts everything else as an error.
//
//   itgt-steady-writer SECONDS INTERVAL_MS URL...
//
// SIGTERM ends it before SECONDS are over. Then it reads all that it wrote, prints one line of JSON and ends:
// 0 when no write was lost and there was no error. Until then "progress WRITES PATHS" comes now and then.
//
// A path: a connection that ends is made again at once, one that was refused or not answered after 3 s; a
// login may take 15 s. What is silent for 5 s is asked (NOP-Out), and given up after 5 s more. A command of a
// path that is given up is sent on the next one. Neither a login reject nor a status other than GOOD or a
// unit attention may come.

#include <fmt/format.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/parse.h"

namespace steady {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kUnitBytes = 4096;
constexpr uint64_t kUnits = 256;
constexpr seconds kLoginMax{15};
constexpr seconds kRefusedPause{3};
constexpr seconds kSilenceMax{5};
constexpr seconds kPingMax{5};
/// open-iscsi's replacement_timeout.
constexpr seconds kCommandMax{120};
constexpr seconds kFinalMax{60};
constexpr milliseconds kTurn{5};
constexpr size_t kEventsMax = 200;

std::sig_atomic_t told_to_end = 0;

int64_t ms(Clock::duration time) {
  return std::chrono::duration_cast<milliseconds>(time).count();
}

struct Run {
  Clock::time_point started = Clock::now();
  std::vector<std::string> errors;
  std::vector<nlohmann::json> events;
  uint64_t login_rejects = 0;
  uint64_t unit_attentions = 0;
  uint64_t reconnects = 0;

  void error(const std::string& text) {
    if (errors.size() < kEventsMax)
      errors.push_back(fmt::format("{} ms: {}", ms(Clock::now() - started), text));
  }
  void event(const std::string& path, const std::string& text) {
    if (events.size() >= kEventsMax) return;
    events.push_back({{"ms", ms(Clock::now() - started)}, {"path", path}, {"what", text}});
  }
};

struct Command {
  bool write = true;
  uint64_t number = 0;
  uint64_t unit = 0;
  std::vector<unsigned char> data;  ///< of a write; libiscsi reads it until the command's end
  enum class State : uint8_t { waiting, sent, good } state = State::waiting;
  std::vector<unsigned char> read;
};

// --- A path.

class Path {
 public:
  Path(Run& run, std::string url, size_t number) : run_(run), url_(std::move(url)), number_(number) {}
  ~Path() { close(); }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  [[nodiscard]] bool ready() const { return state_ == State::ready; }
  [[nodiscard]] pollfd poll_entry() const {
    if (context_ == nullptr) return {-1, 0, 0};
    return {iscsi_get_fd(context_), static_cast<int16_t>(iscsi_which_events(context_)), 0};
  }
  void service(int16_t revents) {
    if (context_ != nullptr && revents != 0 && iscsi_service(context_, revents) < 0)
      fail("the connection ended");
    if (!failure_.empty()) reopen();
  }
  void turn();
  void send(Command& command);
  void logout() {
    if (ready()) iscsi_logout_sync(context_);
  }

 private:
  enum class State : uint8_t { closed, connecting, login, ready };

  void open();
  void reopen();
  void close();
  /// Acted upon when libiscsi has returned: it may be on its stack.
  void fail(const std::string& why) {
    if (failure_.empty()) failure_ = why;
  }
  void on_connected(int status);
  void on_login(int status);
  void on_command(int status, scsi_task* task);

  Run& run_;
  std::string url_;
  size_t number_;
  std::string name_;
  iscsi_context* context_ = nullptr;
  State state_ = State::closed;
  Clock::time_point since_;       ///< when state_ was entered
  Clock::time_point not_before_;  ///< of the next open()
  Clock::time_point heard_;       ///< the last answer
  bool pinging_ = false;          ///< true exactly when a NOP-Out is not answered yet
  bool was_ready_ = false;
  int lun_ = 0;
  std::string failure_;
  Command* command_ = nullptr;  ///< under way on this path; the caller's
};

void Path::open() {
  context_ = iscsi_create_context(fmt::format("iqn.1993-08.org.debian:01:steady-{}", number_).c_str());
  iscsi_url* url = iscsi_parse_full_url(context_, url_.c_str());
  if (url == nullptr) {
    run_.error(fmt::format("{}: {}", url_, iscsi_get_error(context_)));
    told_to_end = 1;
    return;
  }
  name_ = static_cast<const char*>(url->portal);
  lun_ = url->lun;
  iscsi_set_targetname(context_, static_cast<const char*>(url->target));
  iscsi_destroy_url(url);
  iscsi_set_session_type(context_, ISCSI_SESSION_NORMAL);
  iscsi_set_noautoreconnect(context_, 1);
  iscsi_set_timeout(context_, 0);
  state_ = State::connecting;
  since_ = heard_ = Clock::now();
  const auto connected = [](iscsi_context*, int status, void*, void* self) {
    static_cast<Path*>(self)->on_connected(status);
  };
  if (iscsi_connect_async(context_, name_.c_str(), connected, this) != 0) fail("no connection");
}

void Path::on_connected(int status) {
  if (state_ != State::connecting) return;
  if (status != SCSI_STATUS_GOOD) return fail(fmt::format("refused: {}", iscsi_get_error(context_)));
  state_ = State::login;
  const auto logged_in = [](iscsi_context*, int login, void*, void* self) {
    static_cast<Path*>(self)->on_login(login);
  };
  if (iscsi_login_async(context_, logged_in, this) != 0) fail("no login");
}

void Path::on_login(int status) {
  if (state_ != State::login) return;
  const std::string text = iscsi_get_error(context_);
  if (status != SCSI_STATUS_GOOD) {
    if (text.find("Status: ") != std::string::npos) {
      run_.login_rejects++;
      run_.error(fmt::format("{}: a login was rejected: {}", name_, text));
    }
    return fail("login: " + text);
  }
  state_ = State::ready;
  heard_ = Clock::now();
  run_.event(name_, fmt::format("ready after {} ms", ms(Clock::now() - since_)));
  if (std::exchange(was_ready_, true)) run_.reconnects++;
}

void Path::close() {
  state_ = State::closed;
  if (command_ != nullptr) command_->state = Command::State::waiting;
  command_ = nullptr;
  pinging_ = false;
  if (context_ != nullptr) iscsi_destroy_context(context_);
  context_ = nullptr;
}

void Path::reopen() {
  const bool was_up = state_ == State::ready;
  run_.event(name_, std::exchange(failure_, {}));
  close();
  not_before_ = Clock::now() + (was_up ? seconds{0} : kRefusedPause);
}

void Path::turn() {
  const Clock::time_point now = Clock::now();
  if (state_ == State::closed && now >= not_before_) open();
  if ((state_ == State::connecting || state_ == State::login) && now - since_ > kLoginMax)
    fail(state_ == State::login ? "the login was not answered" : "the connection was not answered");
  if (state_ == State::ready && !pinging_ && now - heard_ > kSilenceMax) {
    pinging_ = true;
    since_ = now;
    const auto answered = [](iscsi_context*, int, void*, void* self) {
      static_cast<Path*>(self)->pinging_ = false;
      static_cast<Path*>(self)->heard_ = Clock::now();
    };
    if (iscsi_nop_out_async(context_, answered, nullptr, 0, this) != 0) fail("no NOP-Out");
  }
  if (state_ == State::ready && pinging_ && now - since_ > kPingMax) fail("silent");
  if (!failure_.empty()) reopen();
}

void Path::send(Command& command) {
  command_ = &command;
  command.state = Command::State::sent;
  const auto ended = [](iscsi_context*, int status, void* task, void* self) {
    static_cast<Path*>(self)->on_command(status, static_cast<scsi_task*>(task));
  };
  const uint64_t lba = command.unit * (kUnitBytes / 512);
  const scsi_task* task =
      command.write ? iscsi_write16_task(context_, lun_, lba, command.data.data(), kUnitBytes, 512, 0, 0, 0,
                                         0, 0, ended, this)
                    : iscsi_read16_task(context_, lun_, lba, kUnitBytes, 512, 0, 0, 0, 0, 0, ended, this);
  if (task == nullptr) fail(fmt::format("not sent: {}", iscsi_get_error(context_)));
}

void Path::on_command(int status, scsi_task* task) {
  const auto freed = [](scsi_task* done) {
    if (done != nullptr) scsi_free_scsi_task(done);
  };
  const std::unique_ptr<scsi_task, decltype(freed)> owned(task, freed);
  if (state_ != State::ready || command_ == nullptr) return;
  if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_ERROR || status == SCSI_STATUS_TIMEOUT)
    return fail(fmt::format("the connection ended: {}", iscsi_get_error(context_)));
  heard_ = Clock::now();
  Command& command = *std::exchange(command_, nullptr);
  command.state = Command::State::waiting;
  if (status == SCSI_STATUS_CHECK_CONDITION && task->sense.key == SCSI_SENSE_UNIT_ATTENTION) {
    run_.unit_attentions++;
    return;
  }
  if (status != SCSI_STATUS_GOOD) {
    return run_.error(fmt::format("{}: {} {} ended with status {:02x}h, sense {:x}h/{:04x}h", name_,
                                  command.write ? "WRITE" : "READ", command.number, status,
                                  static_cast<int>(task->sense.key), task->sense.ascq));
  }
  if (!command.write) command.read.assign(task->datain.data, task->datain.data + task->datain.size);
  command.state = Command::State::good;
}

// --- The writer.

class Writer {
 public:
  Writer(std::span<char*> urls, milliseconds interval) : interval_(interval) {
    for (size_t i = 0; i < urls.size(); i++) paths_.push_back(std::make_unique<Path>(run_, urls[i], i));
  }

  void write_until(Clock::time_point end) {
    while (Clock::now() < end && told_to_end == 0) {
      const uint64_t number = ++number_;
      const uint64_t unit = number % kUnits;
      Command write{.number = number, .unit = unit, .data = std::vector<unsigned char>(kUnitBytes)};
      for (size_t at = 0; at < kUnitBytes; at += sizeof number)
        std::memcpy(&write.data[at], &number, sizeof number);
      const Clock::time_point sent = Clock::now();
      maybe_[unit] = number;
      if (!carry_out(write)) return;
      note_time(sent);
      written_[unit] = number;
      writes_++;
      const Clock::time_point asked = Clock::now();
      verify(unit);
      note_time(asked);
      progress();
      turns_until(sent + interval_);
    }
  }

  /// A pause may meet a write, or the read that follows it.
  void note_time(Clock::time_point sent) {
    const int64_t took = ms(Clock::now() - sent);
    if (took <= longest_ms_) return;
    longest_ms_ = took;
    longest_at_ms_ = ms(sent - run_.started);
  }

  void verify_all() {
    for (uint64_t unit = 0; unit < kUnits; unit++) {
      if (written_[unit] != 0) verify(unit);
    }
    for (const auto& path : paths_) path->logout();
  }

  [[nodiscard]] int report() const {
    const nlohmann::json json{{"writes", writes_},
                              {"reads", reads_},
                              {"longest_ms", longest_ms_},
                              {"longest_at_ms", longest_at_ms_},
                              {"lost", lost_},
                              {"errors", run_.errors},
                              {"login_rejects", run_.login_rejects},
                              {"unit_attentions", run_.unit_attentions},
                              {"reconnects", run_.reconnects},
                              {"events", run_.events}};
    fmt::print("{}\n", json.dump());
    return run_.errors.empty() && lost_ == 0 ? 0 : 1;
  }

 private:
  void turn() {
    for (const auto& path : paths_) path->turn();
    std::vector<pollfd> polled;
    for (const auto& path : paths_) polled.push_back(path->poll_entry());
    ::poll(polled.data(), polled.size(), static_cast<int>(kTurn.count()));
    for (size_t i = 0; i < paths_.size(); i++) paths_[i]->service(polled[i].revents);
  }
  void turns_until(Clock::time_point end) {
    while (Clock::now() < end && told_to_end == 0) turn();
  }

  /// False when it took too long; then nothing can be done any more.
  bool carry_out(Command& command) {
    const Clock::time_point sent = Clock::now();
    while (command.state != Command::State::good && !paths_.empty()) {
      const auto took = Clock::now() - sent;
      if (took > (told_to_end != 0 ? kFinalMax : kCommandMax)) {
        run_.error(fmt::format("{} {} was not answered in {} ms", command.write ? "WRITE" : "READ",
                               command.number, ms(took)));
        paths_.clear();  // they hold the command
        break;
      }
      if (command.state == Command::State::waiting) dispatch(command);
      turn();
    }
    return command.state == Command::State::good;
  }
  /// On the paths in turn.
  void dispatch(Command& command) {
    for (size_t i = 0; i < paths_.size(); i++) {
      next_ = (next_ + 1) % paths_.size();
      if (paths_[next_]->ready()) return paths_[next_]->send(command);
    }
  }

  void verify(uint64_t unit) {
    Command read{.write = false, .number = written_[unit], .unit = unit};
    if (!carry_out(read)) return;
    reads_++;
    if (read.read.size() != kUnitBytes) return run_.error(fmt::format("READ: {} bytes", read.read.size()));
    uint64_t first = 0;
    std::memcpy(&first, read.read.data(), sizeof first);
    for (size_t at = 0; at < kUnitBytes; at += sizeof first) {
      uint64_t found = 0;
      std::memcpy(&found, &read.read[at], sizeof found);
      // The last one of all may have been written without an answer.
      if (found == first && (found == written_[unit] || found == maybe_[unit])) continue;
      lost_++;
      return run_.error(
          fmt::format("unit {}, byte {}: {} where {} was written", unit, at, found, written_[unit]));
    }
  }

  void progress() {
    const Clock::time_point now = Clock::now();
    if (now - told_ < milliseconds{200}) return;
    told_ = now;
    const auto ready = std::ranges::count_if(paths_, [](const auto& path) { return path->ready(); });
    fmt::print("progress {} {}\n", writes_, ready);
    std::fflush(stdout);
  }

  Run run_;
  milliseconds interval_;
  std::vector<std::unique_ptr<Path>> paths_;
  size_t next_ = 0;
  uint64_t number_ = 0;
  uint64_t writes_ = 0;
  uint64_t reads_ = 0;
  uint64_t lost_ = 0;
  int64_t longest_ms_ = 0;
  int64_t longest_at_ms_ = 0;
  Clock::time_point told_;
  std::array<uint64_t, kUnits> written_{};  ///< answered
  std::array<uint64_t, kUnits> maybe_{};    ///< sent
};

int run(uint64_t for_seconds, uint64_t interval_ms, std::span<char*> urls) {
  struct sigaction action {};
  action.sa_handler = [](int) { told_to_end = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  Writer writer(urls, milliseconds{interval_ms});
  writer.write_until(Clock::now() + seconds{for_seconds});
  writer.verify_all();
  return writer.report();
}

}  // namespace
}  // namespace steady

int main(int argc, char** argv) {
  const std::span<char*> arguments(argv, static_cast<size_t>(argc));
  const auto number = [&](size_t at) {
    return at < arguments.size() ? itgtd::parse_u64(arguments[at]) : std::nullopt;
  };
  if (argc < 4 || !number(1) || !number(2)) {
    fmt::print(stderr, "usage: itgt-steady-writer SECONDS INTERVAL_MS URL...\n");
    return 2;
  }
  return steady::run(*number(1), *number(2), arguments.subspan(3));
}

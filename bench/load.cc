#include "bench/load.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "bench/load_thread.h"

namespace itgtd::bench {
namespace {

constexpr std::chrono::seconds kSetupLimit{60};
constexpr std::chrono::seconds kLogoutLimit{2};
constexpr uint64_t kVerifyRangeBytes = uint64_t{1} << 30;  // unless --range says otherwise: fits any memory
constexpr uint64_t kVerifyUnitsMax = uint64_t{1} << 27;    // eight bytes of state each
constexpr rlim_t kOtherFiles = 64;

/// Where the I/Os of one run may go.
struct Range {
  uint32_t lba_per_unit = 0;
  uint64_t units = 0;
};

Result<Range> choose_range(const LoadOptions& options, const Capacity& capacity) {
  if (options.block_bytes % capacity.block_bytes != 0) {
    return Error{0, fmt::format("--block-size {}: not a multiple of the unit's blocks of {} bytes",
                                options.block_bytes, capacity.block_bytes)};
  }
  uint64_t bytes = options.range_bytes;
  if (bytes > capacity.bytes()) {
    return Error{0, fmt::format("--range {}: the unit has {} bytes", bytes, capacity.bytes())};
  }
  if (bytes == 0) bytes = options.verify ? std::min(capacity.bytes(), kVerifyRangeBytes) : capacity.bytes();
  const Range range{options.block_bytes / capacity.block_bytes, bytes / options.block_bytes};
  if (range.units == 0) return Error{0, "the range is smaller than one I/O"};
  if (!options.verify) return range;
  if (range.units > kVerifyUnitsMax)
    return Error{0, "--verify: the range has too many blocks for its tables"};
  if (range.units / options.connections <= options.depth) {
    return Error{0, "--verify: each connection needs a part of the range that is longer than its depth"};
  }
  return range;
}

Plan::Shape plan_of(const LoadOptions& options, const Range& range, uint32_t number) {
  Plan::Shape shape{.units = range.units,
                    .read_percent = options.read_percent,
                    .random = options.random,
                    .verify = options.verify,
                    .seed = options.seed * kConnectionsMax + number};
  // Sequential streams and verified blocks must not meet: each connection has its part.
  if (!options.verify && options.random) return shape;
  const uint64_t part = std::max<uint64_t>(1, range.units / options.connections);
  shape.first_unit = part * number % range.units;
  shape.units = std::min(part, range.units - shape.first_unit);
  return shape;
}

/// A connection's share of `whole`; the first ones take what is left over.
uint64_t share(uint64_t whole, uint32_t parts, uint32_t number) {
  return whole / parts + (number < whole % parts ? 1 : 0);
}

/// Data that neither compresses nor repeats.
std::vector<std::byte> make_noise(uint32_t size) {
  std::vector<std::byte> noise(size);
  uint64_t state = 0x9E37'79B9'7F4A'7C15;
  for (std::byte& byte : noise) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<std::byte>(state);
  }
  return noise;
}

void raise_file_limit(uint32_t connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= connections + kOtherFiles) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, connections + kOtherFiles);
  setrlimit(RLIMIT_NOFILE, &limit);  // if that fails, a connection says so
}

class Run {
 public:
  explicit Run(const LoadOptions& options) : options_(options), noise_(make_noise(options.block_bytes)) {
    result_.failures.reserve(1);
  }

  Result<void> open();
  void phase(Phase phase);
  LoadResult close();
  [[nodiscard]] bool aborted() const { return abort_.load(); }

 private:
  Result<void> open_one(uint32_t number);

  const LoadOptions& options_;
  std::vector<std::byte> noise_;
  std::vector<std::unique_ptr<LoadThread>> threads_;
  std::atomic<bool> abort_{false};
  Range range_;
  uint64_t id_ = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  LoadResult result_;
};

Result<void> Run::open_one(uint32_t number) {
  const Instant deadline = now() + kSetupLimit;
  Result<Session> session = login(options_, number, deadline);
  if (!session) return session.error();
  if (Result<void> ready = clear_attentions(*session, options_.lun, deadline); !ready) return ready;
  if (number == 0) {
    const Result<Capacity> capacity = read_capacity(*session, options_.lun, deadline);
    if (!capacity) return capacity.error();
    const Result<Range> range = choose_range(options_, capacity.value());
    if (!range) return range.error();
    range_ = range.value();
    result_.capacity = capacity.value();
    result_.range_bytes = range_.units * options_.block_bytes;
    result_.parameters = session->parameters;
  }
  LoadConnection::Setup setup{.number = number,
                              .run = id_,
                              .block_bytes = options_.block_bytes,
                              .lba_per_unit = range_.lba_per_unit,
                              .depth = options_.depth,
                              .lun = options_.lun,
                              .verify = options_.verify,
                              .plan = plan_of(options_, range_, number)};
  if (options_.rate != 0) {
    const double seconds = static_cast<double>(options_.connections) / static_cast<double>(options_.rate);
    setup.interval = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
  }
  auto connection = std::make_unique<LoadConnection>(std::move(*session), setup, noise_);
  threads_[number % options_.threads]->add(std::move(connection),
                                           share(options_.count, options_.connections, number));
  return {};
}

Result<void> Run::open() {
  raise_file_limit(options_.connections);
  for (uint32_t i = 0; i < options_.threads; ++i) threads_.push_back(std::make_unique<LoadThread>());
  for (uint32_t number = 0; number < options_.connections; ++number) {
    Result<void> opened = open_one(number);
    if (!opened) return opened;
  }
  return {};
}

void Run::phase(Phase phase) {
  PhaseShape shape{.phase = phase, .spin = options_.spin};
  if (phase == Phase::measure) {
    using Seconds = std::chrono::duration<double>;
    shape.warmup = std::chrono::duration_cast<Duration>(Seconds(options_.warmup_seconds));
    if (options_.count == 0) shape.duration = std::chrono::duration_cast<Duration>(Seconds(options_.seconds));
  }
  shape.paced = options_.rate != 0;
  std::vector<std::thread> running;
  for (const auto& thread : threads_) {
    running.emplace_back([this, &thread, &shape] { thread->run(shape, abort_); });
  }
  for (std::thread& thread : running) thread.join();
}

LoadResult Run::close() {
  for (const auto& thread : threads_) {
    result_.statistics.merge(thread->statistics());
    result_.seconds = std::max(result_.seconds, thread->seconds());
    result_.user_seconds += thread->user_seconds();
    result_.system_seconds += thread->system_seconds();
    result_.read_back += thread->read_back();
    for (const auto& connection : thread->connections()) {
      if (connection->failure()) {
        result_.failures.push_back(connection->failure()->to_string());
      } else if (!aborted()) {
        const Result<void> left = logout(connection->session(), now() + kLogoutLimit);
        if (!left) result_.failures.push_back("logout: " + left.error().to_string());
      }
    }
  }
  return std::move(result_);
}

}  // namespace

Result<LoadResult> run_load(const LoadOptions& options) {
  Run run(options);
  if (Result<void> opened = run.open(); !opened) return opened.error();
  if (options.fill) run.phase(Phase::fill);
  if (!run.aborted()) run.phase(Phase::measure);
  if (options.verify && !run.aborted()) run.phase(Phase::read_back);
  return run.close();
}

}  // namespace itgtd::bench

// Sessions that do things to the same blocks at the same time, and what must be true of the blocks whatever
// the order.
//
//   itgt-races SCENARIO SECONDS URL...
//
// Sessions take the URLs in turn. Exit status 0: held; 1: broken, with a line that says how; 77: the LUN has
// no such command. Test data is uniform: every 8 bytes of a range are the same number, so that a mix shows.

#include <fmt/format.h>

#include <atomic>
#include <barrier>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>
#include <thread>

#include "tests/system/races_session.h"

namespace races {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSkipped = 77;
constexpr int kSessions = 4;
constexpr uint64_t kFirst = 64;     // where the range that is fought for begins
constexpr uint64_t kSource = 4096;  // of copies

struct Setting {
  std::vector<std::string> urls;
  std::chrono::duration<double> seconds{};
  std::atomic<uint64_t> done{0};
};

std::unique_ptr<Session> session(const Setting& setting, int number) {
  const auto count = static_cast<int>(setting.urls.size());
  return std::make_unique<Session>(setting.urls[static_cast<size_t>(number % count)], number);
}

Bytes uniform(const Session& of, uint32_t blocks, uint64_t number) {
  Bytes data(size_t{blocks} * of.block_bytes());
  for (size_t at = 0; at < data.size(); at += sizeof number) std::memcpy(&data[at], &number, sizeof number);
  return data;
}

uint64_t number_at(const Bytes& data, size_t at) {
  uint64_t number = 0;
  std::memcpy(&number, &data[at], sizeof number);
  return number;
}

/// The number that all of it is; fails when it is a mix.
uint64_t number_of(const Bytes& data, std::string_view where) {
  for (size_t at = 8; at < data.size(); at += 8) {
    if (number_at(data, at) != number_at(data, 0)) {
      fail(fmt::format("{}: a mix: {:#x} at byte 0, {:#x} at byte {}", where, number_at(data, 0),
                       number_at(data, at), at));
    }
  }
  return number_at(data, 0);
}

void want_good(const Outcome& outcome, std::string_view what) {
  if (!outcome.good()) fail(fmt::format("{}: {}", what, outcome.text()));
}

uint64_t read_uniform(Session& from, uint64_t lba, uint32_t blocks, std::string_view where) {
  const Outcome outcome = from.read(lba, blocks);
  want_good(outcome, "READ");
  if (outcome.data.size() != size_t{blocks} * from.block_bytes()) fail("READ: short");
  return number_of(outcome.data, where);
}

/// Runs them at once, each in a thread with a session of its own, until the time is over.
void race(Setting& setting, const std::vector<std::function<void(Session&)>>& turns) {
  const auto end = Clock::now() + setting.seconds;
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < turns.size(); i++) {
    threads.emplace_back([&, i] {
      auto own = session(setting, static_cast<int>(i));
      while (Clock::now() < end) {
        turns[i](*own);
        setting.done++;
      }
    });
  }
}

/// One increment of what is uniform in the blocks, tried until it is the one that happened.
void increment(Session& by, uint32_t blocks) {
  for (;;) {
    const uint64_t before = read_uniform(by, kFirst, blocks, "READ between COMPARE AND WRITEs");
    const Outcome outcome =
        by.compare_and_write(kFirst, uniform(by, blocks, before), uniform(by, blocks, before + 1));
    if (outcome.good()) return;
    if (!outcome.miscompare()) fail("COMPARE AND WRITE: " + outcome.text());
  }
}

/// Each session counts up by COMPARE AND WRITE: no count may be lost, no READ may see a part of one.
void count(Setting& setting, Session& first, uint32_t blocks) {
  want_good(first.write(kFirst, uniform(first, blocks, 0)), "WRITE");
  race(setting,
       std::vector<std::function<void(Session&)>>(kSessions, [=](Session& by) { increment(by, blocks); }));
  const uint64_t found = read_uniform(first, kFirst, blocks, "the final count");
  if (found != setting.done)
    fail(fmt::format("{} increments were acknowledged, {} are there", setting.done.load(), found));
}

void caw_counter(Setting& setting, Session& first) {
  count(setting, first, 1);
}
void caw_range(Setting& setting, Session& first) {
  count(setting, first, std::min(64U, first.block_limit(5, 1)));
}

/// Each session sets bits of its own in all blocks, one at a time: none may be lost.
void or_write(Setting& setting, Session& first) {
  constexpr uint32_t kBlocks = 16;
  const size_t bytes = kBlocks * first.block_bytes();
  const auto end = Clock::now() + setting.seconds;
  while (Clock::now() < end) {
    want_good(first.write(kFirst, Bytes(bytes, 0)), "WRITE");
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < kSessions; i++) {
      threads.emplace_back([&, i] {
        auto own = session(setting, static_cast<int>(i));
        for (size_t bit = i; bit < 64 * 8; bit += kSessions) {
          Bytes data(bytes, 0);
          for (size_t at = bit / 8; at < bytes; at += 64) data[at] = static_cast<uint8_t>(1U << (bit % 8));
          want_good(own->or_write(kFirst, data), "ORWRITE");
          setting.done++;
        }
      });
    }
    threads.clear();
    const Outcome outcome = first.read(kFirst, kBlocks);
    for (size_t at = 0; at < outcome.data.size(); at++) {
      if (outcome.data[at] != 0xFF)
        fail(fmt::format("byte {} is {:#x}: a bit was lost", at, outcome.data[at]));
    }
  }
}

/// Two sessions write the range atomically, two read it.
void write_atomic(Setting& setting, Session& first) {
  const uint32_t limit = first.block_limit(44, 4);  // MAXIMUM ATOMIC TRANSFER LENGTH; 0: there is none
  const uint32_t blocks = limit == 0 ? 128 : std::min(128U, limit);
  want_good(first.write(kFirst, uniform(first, blocks, 0)), "WRITE");
  std::atomic<uint64_t> next{1};
  const auto writer = [&](Session& by) {
    want_good(by.write_atomic(kFirst, uniform(by, blocks, next++)), "WRITE ATOMIC");
  };
  const auto reader = [&](Session& by) {
    read_uniform(by, kFirst, blocks, "READ of what WRITE ATOMIC wrote");
  };
  race(setting, {writer, reader, writer, reader});
}

/// What WRITE AND VERIFY compares with is what it wrote itself, whoever writes there, too.
void write_and_verify(Setting& setting, Session& first) {
  constexpr uint32_t kBlocks = 64;
  want_good(first.write(kFirst, uniform(first, kBlocks, 0)), "WRITE");
  std::atomic<uint64_t> next{1};
  const auto verifier = [&](Session& by) {
    want_good(by.write_and_verify(kFirst, uniform(by, kBlocks, next++)), "WRITE AND VERIFY");
  };
  const auto writer = [&](Session& by) {
    want_good(by.write(kFirst, uniform(by, kBlocks, next++)), "WRITE");
  };
  race(setting, {verifier, writer, verifier, writer});
}

/// EXTENDED COPY of blocks that are counted up by COMPARE AND WRITE copies one count, and never an older one
/// than before.
void copy_source(Setting& setting, Session& first) {
  const uint32_t blocks = std::min(32U, first.block_limit(5, 1));
  want_good(first.write(kFirst, uniform(first, blocks, 0)), "WRITE");
  std::atomic<uint64_t> counted{0};
  const auto counter = [&](Session& by) {
    increment(by, blocks);
    counted++;
  };
  const auto copier = [&](Session& by) {
    const uint64_t at_least = counted;
    want_good(by.extended_copy(kFirst, kSource, static_cast<uint16_t>(blocks)), "EXTENDED COPY");
    const uint64_t copied = read_uniform(by, kSource, blocks, "what was copied");
    if (copied < at_least) fail(fmt::format("{} was copied after {} had been counted", copied, at_least));
  };
  race(setting, {counter, copier, counter});
}

/// COMPARE AND WRITE of what is there, and at the same time another command that overwrites all of it. One
/// comes after the other, so that in the end everything is what the other one wrote: COMPARE AND WRITE does
/// nothing when it is the later one.
using Rival = std::function<Outcome(Session&, uint32_t blocks, uint64_t number)>;
void rivals(Setting& setting, Session& first, const Rival& rival, bool zero = false) {
  const uint32_t blocks = std::min(64U, first.block_limit(5, 1));
  std::barrier<> meeting(2);
  std::atomic<bool> over{false};
  uint64_t number = 1;
  uint64_t both = 0;
  const auto end = Clock::now() + setting.seconds;
  std::jthread other([&] {
    auto own = session(setting, 1);
    for (;;) {
      meeting.arrive_and_wait();
      if (over) return;
      want_good(rival(*own, blocks, number + 2), "the other command");
      meeting.arrive_and_wait();
    }
  });
  while (Clock::now() < end) {
    want_good(first.write(kFirst, uniform(first, blocks, number)), "WRITE");
    meeting.arrive_and_wait();
    const Outcome outcome =
        first.compare_and_write(kFirst, uniform(first, blocks, number), uniform(first, blocks, number + 1));
    meeting.arrive_and_wait();
    if (!outcome.good() && !outcome.miscompare()) fail("COMPARE AND WRITE: " + outcome.text());
    if (outcome.good()) both++;
    const uint64_t found = read_uniform(first, kFirst, blocks, "after both");
    if (found != (zero ? 0 : number + 2)) {
      fail(fmt::format("{:#x} where {:#x} was written last; COMPARE AND WRITE ended with {}", found,
                       number + 2, outcome.text()));
    }
    number += 3;
    setting.done++;
  }
  over = true;
  meeting.arrive_and_wait();
  fmt::print("COMPARE AND WRITE came first {} times of {}\n", both, setting.done.load());
}

void caw_write(Setting& setting, Session& first) {
  rivals(setting, first,
         [](Session& by, uint32_t blocks, uint64_t n) { return by.write(kFirst, uniform(by, blocks, n)); });
}

void caw_write_same(Setting& setting, Session& first) {
  rivals(setting, first, [](Session& by, uint32_t blocks, uint64_t n) {
    return by.write_same(kFirst, blocks, uniform(by, 1, n));
  });
}

void caw_unmap(Setting& setting, Session& first) {
  rivals(
      setting, first, [](Session& by, uint32_t blocks, uint64_t) { return by.unmap(kFirst, blocks); }, true);
}

void caw_write_atomic(Setting& setting, Session& first) {
  rivals(setting, first, [](Session& by, uint32_t blocks, uint64_t n) {
    return by.write_atomic(kFirst, uniform(by, blocks, n));
  });
}

void caw_write_and_verify(Setting& setting, Session& first) {
  rivals(setting, first, [](Session& by, uint32_t blocks, uint64_t n) {
    return by.write_and_verify(kFirst, uniform(by, blocks, n));
  });
}

void caw_copy(Setting& setting, Session& first) {
  rivals(setting, first, [](Session& by, uint32_t blocks, uint64_t n) {
    want_good(by.write(kSource, uniform(by, blocks, n)), "WRITE");
    return by.extended_copy(kSource, kFirst, static_cast<uint16_t>(blocks));
  });
}

struct Scenario {
  std::string_view name;
  std::vector<uint8_t> opcodes;  // that it needs
  void (*run)(Setting&, Session& first);
};

const Scenario kScenarios[] = {
    {"caw-counter", {0x89}, caw_counter},
    {"caw-range", {0x89}, caw_range},
    {"orwrite", {0x8B}, or_write},
    {"write-atomic", {0x9C}, write_atomic},
    {"write-and-verify", {0x8E}, write_and_verify},
    {"copy-source", {0x89, 0x83}, copy_source},
    {"caw-write", {0x89}, caw_write},
    {"caw-write-same", {0x89}, caw_write_same},
    {"caw-unmap", {0x89}, caw_unmap},
    {"caw-write-atomic", {0x89, 0x9C}, caw_write_atomic},
    {"caw-write-and-verify", {0x89, 0x8E}, caw_write_and_verify},
    {"caw-copy", {0x89, 0x83}, caw_copy},
};

int run(std::string_view name, Setting& setting) {
  for (const Scenario& scenario : kScenarios) {
    if (scenario.name != name) continue;
    auto first = session(setting, 100);
    for (const uint8_t opcode : scenario.opcodes) {
      if (first->supports(opcode, opcode == 0x83 ? 0 : -1)) continue;
      fmt::print("there is no command {:02x}h\n", opcode);
      return kSkipped;
    }
    scenario.run(setting, *first);
    fmt::print("{}: {} done\n", name, setting.done.load());
    return 0;
  }
  for (const Scenario& scenario : kScenarios) fmt::print("{}\n", scenario.name);
  return 2;
}

}  // namespace
}  // namespace races

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  races::Setting setting;
  double seconds = 0;
  if (arguments.size() > 2) {
    std::from_chars(arguments[1].data(), arguments[1].data() + arguments[1].size(), seconds);
    setting.urls.assign(arguments.begin() + 2, arguments.end());
  }
  setting.seconds = std::chrono::duration<double>(seconds);
  return races::run(arguments.empty() ? "" : arguments[0], setting);
}

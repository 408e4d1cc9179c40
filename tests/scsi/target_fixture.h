// A target with two logical units and two nexuses, and the way of a command through it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "scsi/command_entry.h"
#include "scsi/dispatch.h"
#include "scsi/logical_unit.h"
#include "scsi/nexus.h"
#include "tests/scsi/carry_out.h"

namespace itgtd::scsi {

/// What came of a command.
struct Outcome {
  Status status = Status::good;
  Sense sense;
  std::vector<uint8_t> data;  ///< what is sent to the initiator
  DataPhase phase;
  std::vector<UnitAttentionRaise> unit_attentions;
  std::vector<Io> ios;
  std::vector<Claim> claims;
  std::vector<InitiatorPort> abort;
  /// True exactly when it was over for the initiator before its work was.
  bool detached = false;
};

class TargetFixture : public ::testing::Test {
 protected:
  static constexpr uint64_t kLun0 = 0;
  static constexpr uint64_t kLun1 = 0x0001'0000'0000'0000;
  static constexpr uint64_t kLunMissing = 0x0005'0000'0000'0000;
  static constexpr uint64_t kLunWellKnown = 0xC101'0000'0000'0000;
  static constexpr uint8_t kPoison = 0xA5;

  TargetFixture() : nexus(1, {"iqn.a", {}}, &luns), other(2, {"iqn.b", {}}, &luns) {
    disk.identity = {"LIO-ORG",  "p_iscsi_lun_0",      "1.0",
                     "aaaaaaa0", make_naa("aaaaaaa0"), "iqn.2017-01.com.linbit:drbd0"};
    disk.geometry.optimal_transfer_bytes = 1 << 20;
    disk.geometry.physical_block_exponent = 3;
    disk.key = 10;
    cartridge = disk;
    cartridge.lun = 1;
    cartridge.key = 11;
    cartridge.removable = true;
    LuState state;
    state.block_count = 2048;
    disk.state = std::make_shared<const LuState>(state);
    cartridge.state = disk.state;
    luns.units[0] = &disk;
    luns.units[1] = &cartridge;
    forget_unit_attentions();
  }

  void forget_unit_attentions() {
    for (uint16_t lun = 0; lun < kLunsPerTargetMax; ++lun) {
      nexus.clear(lun);
      other.clear(lun);
    }
  }

  /// Publishes `state`, whatever its generation is.
  void set_state(LogicalUnit& lu, LuState state) {
    state.generation = lu.state->generation + 1;
    lu.state = std::make_shared<const LuState>(state);
  }

  /// The whole way: admit, memory, start, Io (all succeed), Update. `data_out` is what the initiator sends.
  Outcome run(Nexus& from, uint64_t lun_field, std::initializer_list<uint8_t> cdb,
              const std::vector<uint8_t>& data_out = {}) {
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    return run(from, lun_field, command, data_out);
  }
  Outcome run(std::initializer_list<uint8_t> cdb, const std::vector<uint8_t>& data_out = {}) {
    return run(nexus, kLun0, cdb, data_out);
  }

  Outcome run(Nexus& from, uint64_t lun_field, Command& command, const std::vector<uint8_t>& data_out) {
    command.nexus = &from;
    const Admission admission = admit(command, lun_field);
    if (const Done* done = std::get_if<Done>(&admission)) return outcome_of(*done, command, {}, {});
    EXPECT_EQ(command.phase.direction, command.entry->direction);

    std::vector<uint8_t> memory(command.phase.transfer_bytes, kPoison);
    command.data = std::as_writable_bytes(std::span(memory));
    if (command.phase.direction == DataDirection::out) {
      command.data_out_bytes = static_cast<uint32_t>(std::min(memory.size(), data_out.size()));
      std::copy_n(data_out.begin(), command.data_out_bytes, memory.begin());
    }
    std::vector<uint8_t> scratch(command.phase.scratch_bytes, kPoison);
    command.scratch = std::as_writable_bytes(std::span(scratch));
    Outcome outcome;
    const Done done = carry_out(command, start(command), outcome);
    Outcome whole = outcome_of(done, command, memory, outcome.ios, outcome.unit_attentions);
    whole.claims = outcome.claims;
    whole.abort = outcome.abort;
    whole.detached = outcome.detached;
    return whole;
  }

  /// What the worker does: each step until the command is over. Collects into `seen`.
  Done carry_out(Command& command, Step step, Outcome& seen) {
    struct Around final : testing::Surroundings {
      Around(TargetFixture& of, Outcome& into) : fixture(of), outcome(into) {}
      IoResult execute(const Command&, const Io& io) override {
        outcome.ios.push_back(io);
        return fixture.io_result;
      }
      [[nodiscard]] uint64_t time_ms() const override { return fixture.time_ms; }
      [[nodiscard]] std::vector<KnownNexus> nexuses() const override {
        return {{fixture.nexus.id(), fixture.nexus.port()}, {fixture.other.id(), fixture.other.port()}};
      }
      void on_claim(const Command&, const Claim& claim) override { outcome.claims.push_back(claim); }
      void on_decision(const Command& of, const Decision& decision) override {
        const auto& raises = decision.unit_attentions;
        fixture.deliver(of.lun, raises);
        outcome.unit_attentions.insert(outcome.unit_attentions.end(), raises.begin(), raises.end());
        outcome.abort.insert(outcome.abort.end(), decision.abort.begin(), decision.abort.end());
      }
      void on_detached(const Done&) override { outcome.detached = true; }
      TargetFixture& fixture;
      Outcome& outcome;
    };
    Around around(*this, seen);
    return testing::carry_out(around, command, std::move(step));
  }

  void deliver(uint16_t lun, const std::vector<UnitAttentionRaise>& raises) {
    using Scope = UnitAttentionRaise::Scope;
    for (const UnitAttentionRaise& raise : raises) {
      for (Nexus* to : {&nexus, &other}) {
        const bool named = to->id() == raise.nexus;
        const bool meant = raise.scope == Scope::all || (raise.scope == Scope::only && named) ||
                           (raise.scope == Scope::all_but && !named) ||
                           (raise.scope == Scope::port && to->port() == raise.port);
        if (meant) to->raise(lun, raise.asc);
      }
    }
  }

  static Outcome outcome_of(const Done& done, const Command& command, std::vector<uint8_t> memory,
                            std::vector<Io> ios, std::vector<UnitAttentionRaise> unit_attentions = {}) {
    Outcome outcome;
    outcome.status = done.status;
    outcome.sense = done.sense;
    outcome.phase = command.phase;
    outcome.unit_attentions = std::move(unit_attentions);
    outcome.ios = std::move(ios);
    EXPECT_LE(done.data_in_bytes, memory.size());
    memory.resize(std::min<size_t>(memory.size(), done.data_in_bytes));
    outcome.data = std::move(memory);
    return outcome;
  }

  LogicalUnit disk;
  LogicalUnit cartridge;
  LunMap luns;
  Nexus nexus;
  Nexus other;
  IoResult io_result;
  uint64_t time_ms = 1'700'000'000'000;  ///< what the writer's clock says
};

/// CHECK CONDITION with exactly this sense.
inline ::testing::AssertionResult is_check(const Outcome& outcome, const Sense& sense) {
  if (outcome.status != Status::check_condition) {
    return ::testing::AssertionFailure() << "status " << static_cast<int>(outcome.status);
  }
  if (outcome.sense == sense) return ::testing::AssertionSuccess();
  const uint8_t* specific = outcome.sense.sense_key_specific;
  return ::testing::AssertionFailure()
         << std::hex << "key " << static_cast<int>(outcome.sense.key) << " asc "
         << static_cast<int>(outcome.sense.asc) << " specific " << static_cast<int>(specific[0]) << " "
         << static_cast<int>(specific[1]) << " " << static_cast<int>(specific[2]);
}

inline ::testing::AssertionResult is_good(const Outcome& outcome) {
  if (outcome.status == Status::good) return ::testing::AssertionSuccess();
  return is_check(outcome, {}) << " where GOOD was due";
}

}  // namespace itgtd::scsi

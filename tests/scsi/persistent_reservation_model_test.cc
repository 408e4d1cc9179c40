// The reservation matrix: random service actions of four nexuses, and after each one everything that can be
// seen, against the model.
#include <random>

#include "scsi/transport_id.h"
#include "tests/scsi/persistent_reservation_model.h"
#include "tests/scsi/persistent_reserve_fixture.h"

namespace itgtd::scsi {
namespace {

using Model = testing::PersistentReservationModel;
constexpr int kNexuses = Model::kNexuses;

class Matrix : public ::testing::Test {
 protected:
  Matrix() {
    for (int i = 0; i < kNexuses; ++i) {
      // Two ports of one initiator, one more initiator, and one more again.
      const std::string name = i < 2 ? "iqn.a" : i == 2 ? "iqn.b" : "iqn.b.c";
      const InitiatorPort port = {name, {0, 0, 0, 0, 0, static_cast<uint8_t>(i)}};
      nexuses_.push_back(std::make_unique<Nexus>(static_cast<NexusId>(i + 1), port, &luns_));
    }
    luns_.units[0] = &unit_;
    reset();
  }

  void reset() {
    LuState state;
    state.block_count = 2048;
    // A generation that no nexus has seen.
    state.generation = unit_.state == nullptr ? 1 : unit_.state->generation + 1;
    unit_.state = std::make_shared<const LuState>(state);
    model_ = {};
    for (const auto& nexus : nexuses_) nexus->clear(0);
  }

  Nexus& at(int index) { return *nexuses_[static_cast<size_t>(index)]; }

  Wire id_of(int index) {
    const InitiatorPort& port = at(index).port();
    Wire id(transport_id_bytes(port));
    write_transport_id(port, std::as_writable_bytes(std::span(id)));
    return id;
  }

  struct Seen {
    Done done;
    Wire data;
    std::vector<InitiatorPort> abort;
  };
  Seen run(int from, const Wire& cdb, const Wire& list = {}) {
    struct Around final : testing::Surroundings {
      explicit Around(Matrix& of, Seen& into) : matrix(of), seen(into) {}
      IoResult execute(const Command&, const Io& io) override { return {0, io.length_bytes, nullptr, true}; }
      void on_decision(const Command&, const Decision& decision) override {
        for (const UnitAttentionRaise& raise : decision.unit_attentions) {
          EXPECT_EQ(raise.scope, UnitAttentionRaise::Scope::port);
          for (const auto& nexus : matrix.nexuses_) {
            if (nexus->port() == raise.port) nexus->raise(0, raise.asc);
          }
        }
        seen.abort = decision.abort;
      }
      Matrix& matrix;
      Seen& seen;
    };
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    command.nexus = &at(from);
    Seen seen;
    const Admission admission = admit(command, 0);
    if (const Done* done = std::get_if<Done>(&admission)) {
      seen.done = *done;
      return seen;
    }
    Wire memory(command.phase.transfer_bytes);
    std::copy_n(list.begin(), std::min(list.size(), memory.size()), memory.begin());
    command.data = std::as_writable_bytes(std::span(memory));
    command.data_out_bytes = static_cast<uint32_t>(std::min(list.size(), memory.size()));
    Around around(*this, seen);
    seen.done = testing::carry_out(around, command, start(command));
    memory.resize(seen.done.data_in_bytes);
    seen.data = memory;
    return seen;
  }
  Seen out(int from, uint8_t action, uint8_t scope_and_type, const Wire& list) {
    Wire cdb = {0x5F, action, scope_and_type, 0, 0};
    append_u32(cdb, list.size());
    return run(from, cdb, list);
  }

  static Model::Answer answer_of(const Done& done) {
    if (done.status == Status::good) return Model::Answer::good;
    if (done.status == Status::reservation_conflict) return Model::Answer::conflict;
    EXPECT_EQ(done.sense.key, SenseKey::illegal_request);
    if (done.sense.asc == Asc::invalid_release_of_persistent_reservation)
      return Model::Answer::invalid_release;
    EXPECT_TRUE(done.sense.specific_valid) << "a field pointer";
    if (done.sense.asc == Asc::invalid_field_in_cdb) return Model::Answer::invalid_cdb;
    EXPECT_EQ(done.sense.asc, Asc::invalid_field_in_parameter_list);
    return Model::Answer::invalid_list;
  }

  Model::Call random_call() {
    constexpr std::array<uint8_t, 8> kTypes = {1, 3, 5, 6, 7, 8, 2, 0x11};
    Model::Call call;
    call.nexus = static_cast<int>(random_() % kNexuses);
    const bool own_key = random_() % 8 != 0;
    call.key = own_key ? model_.key_of(call.nexus) : random_() % 4;
    call.action_key = random_() % 4;
    if (model_.holder >= 0 && random_() % 3 == 0) call.action_key = model_.key_of(model_.holder);
    // Mostly that of the reservation, or one that there is.
    const bool keep_type = model_.type != 0 && random_() % 2 == 0;
    call.scope_and_type = keep_type ? model_.type : kTypes[random_() % 6];
    if (random_() % 8 == 0) call.scope_and_type = kTypes[6 + random_() % 2];
    call.persist = random_() % 2 == 0;
    call.destination = static_cast<int>(random_() % kNexuses);
    call.unregister = random_() % 2 == 0;
    return call;
  }

  /// One action, on both; true exactly when both say the same.
  void step() {
    Model::Call call = random_call();
    const auto action = static_cast<uint8_t>(random_() % 8);
    const auto flags = static_cast<uint8_t>(call.persist ? kAptpl : kNoFlags);
    Wire list = basic_list(call.key, call.action_key, flags);
    Model::Answer due = Model::Answer::good;
    switch (static_cast<PrOut>(action)) {
      case kRegister:
        list = maybe_specify(call, flags);
        due = model_.register_key(call, false);
        break;
      case kRegisterAndIgnore:
        due = model_.register_key(call, true);
        break;
      case kReserve:
        due = model_.reserve(call);
        break;
      case kRelease:
        due = model_.release(call);
        break;
      case kClear:
        if (random_() % 4 != 0) return;  // too often nothing is left otherwise
        due = model_.clear(call);
        break;
      case kPreempt:
      case kPreemptAndAbort:
        due = model_.preempt(call);
        break;
      case kRegisterAndMove:
        list = move_list(call.key, call.action_key,
                         static_cast<uint8_t>((call.unregister ? 2 : 0) | (call.persist ? 1 : 0)), 1,
                         id_of(call.destination));
        due = model_.move(call);
        break;
    }
    const LuState before = *unit_.state;
    const Seen seen = out(call.nexus, action, call.scope_and_type, list);
    ASSERT_EQ(answer_of(seen.done), due) << "action " << int{action};
    if (due != Model::Answer::good) {
      EXPECT_EQ(*unit_.state, before) << "an error changes nothing";
    }
    ++answers_[{action, due}];
    std::set<int> aborted;
    for (int i = 0; i < kNexuses; ++i) {
      if (std::ranges::find(seen.abort, at(i).port()) != seen.abort.end()) aborted.insert(i);
    }
    EXPECT_EQ(aborted, action == kPreemptAndAbort ? model_.aborted : std::set<int>{});
    check_unit_attentions();
    check_answers();
    check_commands();
  }

  /// Sometimes with TransportIDs.
  Wire maybe_specify(Model::Call& call, uint8_t flags) {
    if (random_() % 4 != 0) return basic_list(call.key, call.action_key, flags);
    call.specify = true;
    std::vector<Wire> ids;
    for (int other = 0; other < kNexuses; ++other) {
      if (random_() % 2 == 0) continue;
      call.specified.insert(other);
      ids.push_back(id_of(other));
    }
    return basic_list(call.key, call.action_key, static_cast<uint8_t>(flags | kSpecIPt), ids);
  }

  void check_unit_attentions() {
    for (int i = 0; i < kNexuses; ++i) {
      std::set<Asc> told;
      while (const auto asc = at(i).take(0)) told.insert(*asc);
      EXPECT_EQ(told, model_.told[static_cast<size_t>(i)]) << "nexus " << i;
      model_.told[static_cast<size_t>(i)].clear();
    }
  }

  void check_answers() {
    const Wire keys = run(0, {0x5E, kReadKeys, 0, 0, 0, 0, 0, 1, 0}).data;
    EXPECT_EQ(number_at(keys, 0, 4), model_.generation);
    std::multiset<uint64_t> reported;
    for (size_t at = 8; at < keys.size(); at += 8) reported.insert(number_at(keys, at, 8));
    std::multiset<uint64_t> due(model_.keys.begin(), model_.keys.end());
    due.erase(0);
    EXPECT_EQ(reported, due);
    EXPECT_EQ(number_at(keys, 4, 4), 8 * due.size());

    const Wire reservation = run(1, {0x5E, kReadReservation, 0, 0, 0, 0, 0, 1, 0}).data;
    ASSERT_EQ(reservation.size(), model_.type == 0 ? 8U : 24U);
    EXPECT_EQ(number_at(reservation, 0, 4), model_.generation);
    if (model_.type != 0) {
      EXPECT_EQ(number_at(reservation, 8, 8), model_.holder < 0 ? 0 : model_.key_of(model_.holder));
      EXPECT_EQ(reservation[21], model_.type);
    }
    check_full_status();
    const Wire capabilities = run(2, {0x5E, kReportCapabilities, 0, 0, 0, 0, 0, 1, 0}).data;
    EXPECT_EQ(capabilities.at(3) & 1, model_.persist ? 1 : 0);
  }

  void check_full_status() {
    const Wire status = run(3, {0x5E, kReadFullStatus, 0, 0, 0, 0, 0, 0xFF, 0xFF}).data;
    EXPECT_EQ(number_at(status, 4, 4), status.size() - 8);
    size_t at_byte = 8;
    int found = 0;
    while (at_byte < status.size()) {
      const size_t id_bytes = number_at(status, at_byte + 20, 4);
      const auto begin = status.begin() + static_cast<std::ptrdiff_t>(at_byte + 24);
      const Wire id(begin, begin + static_cast<std::ptrdiff_t>(id_bytes));
      for (int i = 0; i < kNexuses; ++i) {
        if (id != id_of(i)) continue;
        ++found;
        EXPECT_EQ(number_at(status, at_byte, 8), model_.key_of(i));
        EXPECT_EQ(status.at(at_byte + 12), model_.holds(i) ? 1 : 0);
        EXPECT_EQ(status.at(at_byte + 13), model_.holds(i) ? model_.type : 0);
        EXPECT_EQ(number_at(status, at_byte + 18, 2), 1U);
      }
      at_byte += 24 + id_bytes;
    }
    EXPECT_EQ(found, kNexuses - static_cast<int>(std::ranges::count(model_.keys, 0U)));
  }

  /// A command of each class, by admission alone.
  void check_commands() {
    for (int i = 0; i < kNexuses; ++i) {
      EXPECT_EQ(conflicts(i, {0x28, 0, 0, 0, 0, 0, 0, 0, 1}), !model_.may_read(i)) << "READ(10)";
      EXPECT_EQ(conflicts(i, {0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}), !model_.may_read(i));
      EXPECT_EQ(conflicts(i, {0x2A, 0, 0, 0, 0, 0, 0, 0, 1}), !model_.may_write(i)) << "WRITE(10)";
      EXPECT_EQ(conflicts(i, {0x42, 0, 0, 0, 0, 0, 0, 0, 24}), !model_.may_write(i)) << "UNMAP";
      EXPECT_FALSE(conflicts(i, {0x12, 0, 0, 0, 96})) << "INQUIRY";
      EXPECT_FALSE(conflicts(i, {0xA0, 0, 0, 0, 0, 0, 0, 0, 1})) << "REPORT LUNS";
      EXPECT_FALSE(conflicts(i, {0x00})) << "TEST UNIT READY";
      const bool covered = model_.holds(i) || (model_.registered(i) && model_.registrants_only());
      const bool anybody = model_.keys != std::array<uint64_t, kNexuses>{};
      if (anybody) {
        const Status due = covered ? Status::good : Status::reservation_conflict;
        EXPECT_EQ(run(i, {0x16}).done.status, due) << "RESERVE(6)";
        EXPECT_EQ(run(i, {0x17}).done.status, due) << "RELEASE(6)";
      }
    }
  }
  bool conflicts(int from, const Wire& cdb) {
    Command command;
    std::copy(cdb.begin(), cdb.end(), command.cdb.begin());
    command.nexus = &at(from);
    const Admission admission = admit(command, 0);
    const Done* done = std::get_if<Done>(&admission);
    return done != nullptr && done->status == Status::reservation_conflict;
  }

  std::mt19937_64 random_{20240611};
  LunMap luns_;
  LogicalUnit unit_;
  std::vector<std::unique_ptr<Nexus>> nexuses_;
  Model model_;
  std::map<std::pair<uint8_t, Model::Answer>, int> answers_;
};

TEST_F(Matrix, RandomActionsOfFourNexuses) {
  for (int round = 0; round < 150; ++round) {
    reset();
    for (int i = 0; i < 80; ++i) {
      step();
      if (HasFailure()) {
        FAIL() << "round " << round << " step " << i;
      }
    }
  }
  // The walk has been everywhere: each action went well and was refused, in every way that it can be.
  using Answer = Model::Answer;
  for (uint8_t action = 0; action < 8; ++action) {
    EXPECT_GT((answers_[{action, Answer::good}]), 10) << int{action};
    if (action == kRegisterAndIgnore) continue;
    EXPECT_GT((answers_[{action, Answer::conflict}]), 10) << int{action};
  }
  EXPECT_GT((answers_[{kRegister, Answer::invalid_list}]), 5);
  EXPECT_GT((answers_[{kReserve, Answer::invalid_cdb}]), 5);
  EXPECT_GT((answers_[{kRelease, Answer::invalid_release}]), 5);
  EXPECT_GT((answers_[{kPreempt, Answer::invalid_cdb}]), 5);
  EXPECT_GT((answers_[{kPreempt, Answer::invalid_list}]), 5);
  EXPECT_GT((answers_[{kRegisterAndMove, Answer::invalid_cdb}]), 5);
  EXPECT_GT((answers_[{kRegisterAndMove, Answer::invalid_list}]), 5);
}

}  // namespace
}  // namespace itgtd::scsi

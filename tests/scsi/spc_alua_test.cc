// REPORT and SET TARGET PORT GROUPS, and port_groups.h: states that come from outside.
#include "scsi/port_groups.h"

#include <random>

#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;
using ::testing::ElementsAre;

/// Three nodes: the first is active and preferred, the second waits, the third has two ports.
PortGroups three_groups() {
  PortGroups groups;
  groups.groups = {{1, AccessState::active_optimized, AccessStatus::none, true, {1}},
                   {2, AccessState::standby, AccessStatus::implicit, false, {2}},
                   {0x0301, AccessState::active_non_optimized, AccessStatus::none, false, {3, 0x0405}}};
  groups.transition_seconds = 45;
  return groups;
}

class Alua : public TargetFixture {
 protected:
  Outcome report(uint8_t format = 0) {
    const auto byte1 = static_cast<uint8_t>((format << 5) | 0x0A);
    return run({0xA3, byte1, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0});
  }
  Outcome set_from(Nexus& from, const Wire& list, uint32_t length) {
    return run(
        from, kLun0,
        {0xA4, 0x0A, 0, 0, 0, 0, static_cast<uint8_t>(length >> 24), static_cast<uint8_t>(length >> 16),
         static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length), 0, 0},
        list);
  }
  Outcome set(const Wire& list) { return set_from(nexus, list, static_cast<uint32_t>(list.size())); }
  Outcome test_unit_ready() { return run({0, 0, 0, 0, 0, 0}); }

  /// What the writer does with a decision from outside.
  void take(const Decision& decision) {
    if (decision.state) disk.state = decision.state;
    deliver(0, decision.unit_attentions);
  }
  void have(const PortGroups& groups) {
    take(on_port_groups(*disk.state, std::make_shared<const PortGroups>(groups)));
    forget_unit_attentions();
  }
  AccessState state_of(uint16_t id) { return find_group(*disk.state->port_groups, id)->state; }
};

TEST_F(Alua, OneGroupWhereNothingWasSaid) {
  EXPECT_EQ(report().data, (Wire{0, 0, 0, 12, 0x00, 0xCF, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1}));
}

TEST_F(Alua, BothHeaders) {
  have(three_groups());
  const Wire descriptors = {0x80, 0xCF, 0,    1,    0, 0, 0, 1, 0, 0, 0, 1,  //
                            0x02, 0xCF, 0,    2,    0, 2, 0, 1, 0, 0, 0, 2,  //
                            0x01, 0xCF, 0x03, 0x01, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 4, 0x05};
  Wire length_only = {0, 0, 0, 40};
  length_only.insert(length_only.end(), descriptors.begin(), descriptors.end());
  EXPECT_EQ(report(0).data, length_only);
  Wire extended = {0, 0, 0, 44, 0x10, 45, 0, 0};
  extended.insert(extended.end(), descriptors.begin(), descriptors.end());
  EXPECT_EQ(report(1).data, extended);
  for (uint8_t format = 2; format < 8; ++format) {
    EXPECT_TRUE(is_check(report(format), sense::invalid_field_in_cdb(1, 7)));
  }
}

TEST_F(Alua, AsManyGroupsAsThereMayBeAreReported) {
  PortGroups most;
  uint16_t port = 0;
  for (uint16_t id = 1; id <= kPortGroupsMax; ++id) {
    PortGroup group;
    group.id = id;
    group.relative_target_ports.clear();
    while (group.relative_target_ports.size() < kPortsPerGroupMax) {
      group.relative_target_ports.push_back(++port);
    }
    most.groups.push_back(group);
  }
  have(most);
  EXPECT_EQ(report(1).data.size(), 8 + kPortGroupsMax * (8 + 4 * kPortsPerGroupMax));
}

TEST_F(Alua, SetChangesAndTellsTheOthers) {
  have(three_groups());
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 2})));
  EXPECT_EQ(state_of(1), AccessState::active_non_optimized);
  EXPECT_EQ(state_of(2), AccessState::active_optimized);
  EXPECT_EQ(find_group(*disk.state->port_groups, 2)->status, AccessStatus::by_command);
  EXPECT_EQ(find_group(*disk.state->port_groups, 0x0301)->status, AccessStatus::none);
  EXPECT_EQ(disk.state->port_groups->transition_seconds, 45);
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(other.take(0), Asc::asymmetric_access_state_changed);
}

TEST_F(Alua, SetOfTheOnlyGroup) {
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 2, 0, 0, 1})));
  EXPECT_TRUE(is_check(test_unit_ready(), sense::not_ready(Asc::target_port_in_standby_state)));
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 3, 0, 0, 1})));
  EXPECT_TRUE(is_check(test_unit_ready(), sense::not_ready(Asc::target_port_in_unavailable_state)));
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 0, 0, 0, 1})));
  EXPECT_TRUE(is_good(test_unit_ready()));
}

TEST_F(Alua, SetOfWhatIsSoAlreadyTellsNobody) {
  have(three_groups());
  const uint64_t generation = disk.state->generation;
  EXPECT_TRUE(is_good(set({0, 0, 0, 0, 2, 0, 0, 2})));
  EXPECT_TRUE(is_good(set({0, 0, 0, 0})));
  EXPECT_TRUE(is_good(set({})));
  EXPECT_EQ(disk.state->generation, generation);
  EXPECT_EQ(find_group(*disk.state->port_groups, 2)->status, AccessStatus::implicit);
  EXPECT_FALSE(other.pending(0));
}

// Nothing of a list with one bad descriptor happens.
TEST_F(Alua, BadFieldsAreNamed) {
  have(three_groups());
  const uint64_t generation = disk.state->generation;
  const auto parameter = [](uint16_t byte, uint8_t bit) {
    return sense::invalid_field_in_parameter_list(byte, bit);
  };
  for (uint8_t state = 4; state < 16; ++state) {
    EXPECT_TRUE(is_check(set({0, 0, 0, 0, 1, 0, 0, 1, state, 0, 0, 2}), parameter(8, 3))) << int{state};
  }
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 3}), parameter(10, 7))) << "no such group";
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0}), parameter(10, 7)));
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 1}), parameter(10, 7))) << "named twice";
  EXPECT_TRUE(is_check(set({0, 0, 0x40, 0, 1, 0, 0, 1}), parameter(2, 6)));
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 0x21, 0, 0, 1}), parameter(4, 5)));
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 1, 1, 0, 1}), parameter(5, 0)));
  EXPECT_EQ(disk.state->generation, generation);
  EXPECT_FALSE(other.pending(0));
}

TEST_F(Alua, ListsThatLieAboutTheirLength) {
  const Wire whole = {0, 0, 0, 0, 2, 0, 0, 1, 2, 0, 0, 1};
  for (uint32_t length = 1; length < 12; ++length) {
    const Wire list(whole.begin(), whole.begin() + length);
    if (length == 4 || length == 8) continue;
    EXPECT_TRUE(is_check(set(list), sense::parameter_list_length_error())) << length;
  }
  // Less came than the CDB said.
  EXPECT_TRUE(is_check(set_from(nexus, {0, 0, 0, 0}, 8), sense::parameter_list_length_error()));
  EXPECT_TRUE(is_check(set_from(nexus, {}, 8), sense::parameter_list_length_error()));
  // More than could ever be meant is not even asked for.
  for (const uint32_t length : {0xFFFF'FFFFU, uint32_t{4 + 4 * kPortGroupsMax + 4}}) {
    EXPECT_TRUE(is_check(set_from(nexus, {}, length), sense::invalid_field_in_cdb(6, 7))) << length;
  }
  EXPECT_EQ(disk.state->port_groups, nullptr);
}

// Whatever comes: either all of it is done or nothing is, and the groups stay as they may be.
TEST_F(Alua, AnyListLeavesValidGroups) {
  std::minstd_rand random(3);
  unsigned done = 0;
  for (unsigned round = 0; round < 5000; ++round) {
    have(three_groups());
    const auto before = disk.state;
    // A list that could be one, with a byte that is not right, or less of it.
    const Wire groups[] = {{0, 1}, {0, 2}, {3, 1}};
    Wire list(4);
    for (unsigned i = random() % 4; i > 0; --i) {
      list.insert(list.end(), {static_cast<uint8_t>(random() % 4), 0});
      const Wire& group = groups[random() % 3];
      list.insert(list.end(), group.begin(), group.end());
    }
    if (random() % 2 == 0) list[random() % list.size()] = static_cast<uint8_t>(random());
    if (random() % 4 == 0) list.resize(random() % (list.size() + 1));
    const uint32_t length = static_cast<uint32_t>(list.size()) + (random() % 8 == 0 ? 4U : 0U);
    const Outcome outcome = set_from(nexus, list, length);
    EXPECT_TRUE(is_valid(*disk.state->port_groups));
    if (outcome.status == Status::good) {
      if (disk.state != before) ++done;
    } else {
      EXPECT_EQ(disk.state, before);
    }
    set_state(disk, *before);
  }
  EXPECT_GT(done, 10U);
}

TEST_F(Alua, NobodySetsAGroupThatIsOfflineOrOnItsWay) {
  PortGroups groups = three_groups();
  groups.groups[1].state = AccessState::transitioning;
  groups.groups[2].state = AccessState::offline;
  have(groups);
  EXPECT_TRUE(
      is_check(set({0, 0, 0, 0, 0, 0, 0, 2}), sense::not_ready(Asc::asymmetric_access_state_transition)));
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 0, 0, 3, 1}), sense::set_target_port_groups_failed()));
  EXPECT_EQ(*disk.state->port_groups, groups);
}

TEST_F(Alua, TransitionOfTheOwnGroupRefusesSetButNotReport) {
  PortGroups groups = three_groups();
  groups.groups[0].state = AccessState::transitioning;
  have(groups);
  const Sense transition = sense::not_ready(Asc::asymmetric_access_state_transition);
  EXPECT_TRUE(is_check(set({0, 0, 0, 0, 0, 0, 0, 2}), transition));
  EXPECT_TRUE(is_check(test_unit_ready(), transition));
  EXPECT_EQ(report(0).data[4], 0x8F);
}

TEST_F(Alua, ReservationOfAnotherKeepsSetOut) {
  LuState state = *disk.state;
  state.reserved_by = other.id();
  set_state(disk, state);
  EXPECT_EQ(set({0, 0, 0, 0, 2, 0, 0, 1}).status, Status::reservation_conflict);
  EXPECT_TRUE(is_good(report()));
}

// The state is that of the group that the unit is seen through, not of another one.
TEST_F(Alua, TheUnitsOwnGroupCounts) {
  have(three_groups());
  EXPECT_TRUE(is_good(test_unit_ready()));
  disk.port_group = 2;
  disk.relative_target_port = 2;
  set_state(disk, *disk.state);
  EXPECT_TRUE(is_check(test_unit_ready(), sense::not_ready(Asc::target_port_in_standby_state)));
  disk.port_group = 7;  // not configured: no way to the medium
  set_state(disk, *disk.state);
  EXPECT_TRUE(is_check(test_unit_ready(), sense::not_ready(Asc::target_port_in_unavailable_state)));
}

TEST_F(Alua, ChangeFromOutsideTellsEveryNexus) {
  take(on_port_groups(*disk.state, std::make_shared<const PortGroups>(three_groups())));
  EXPECT_EQ(nexus.take(0), Asc::asymmetric_access_state_changed) << "two groups came";
  EXPECT_EQ(other.take(0), Asc::asymmetric_access_state_changed);

  PortGroups groups = three_groups();
  groups.groups[0].preferred = false;
  take(on_port_groups(*disk.state, std::make_shared<const PortGroups>(groups)));
  EXPECT_EQ(*disk.state->port_groups, groups);
  EXPECT_FALSE(nexus.pending(0)) << "no state changed";

  groups.groups[0].state = AccessState::transitioning;
  take(on_port_groups(*disk.state, std::make_shared<const PortGroups>(groups)));
  EXPECT_EQ(nexus.take(0), Asc::asymmetric_access_state_changed);
  const uint64_t generation = disk.state->generation;
  take(on_port_groups(*disk.state, std::make_shared<const PortGroups>(groups)));
  EXPECT_EQ(disk.state->generation, generation) << "the same again is no change";

  take(on_port_groups(*disk.state, nullptr));
  EXPECT_EQ(nexus.take(0), Asc::asymmetric_access_state_changed);
  EXPECT_TRUE(is_good(test_unit_ready()));
}

TEST_F(Alua, TransitionEndsInTimeOrUnavailable) {
  PortGroups groups = three_groups();
  groups.groups[0].state = AccessState::transitioning;
  have(groups);
  EXPECT_TRUE(is_transitioning(*disk.state->port_groups));
  EXPECT_EQ(transition_timeout_ms(*disk.state->port_groups), 45'000U);

  take(on_transition_timeout(*disk.state));
  EXPECT_EQ(state_of(1), AccessState::unavailable);
  EXPECT_EQ(find_group(*disk.state->port_groups, 1)->status, AccessStatus::implicit);
  EXPECT_EQ(state_of(2), AccessState::standby);
  EXPECT_EQ(nexus.take(0), Asc::implicit_asymmetric_access_state_transition_failed);
  EXPECT_EQ(other.take(0), Asc::implicit_asymmetric_access_state_transition_failed);

  // A timer that comes too late finds nothing to do.
  have(three_groups());
  const uint64_t generation = disk.state->generation;
  take(on_transition_timeout(*disk.state));
  EXPECT_EQ(disk.state->generation, generation);
  EXPECT_FALSE(nexus.pending(0));
  EXPECT_EQ(transition_timeout_ms(PortGroups{}), 60'000U);
}

TEST_F(Alua, WhatCanNotBeChangesNothing) {
  std::vector<PortGroups> bad(8, three_groups());
  bad[0].groups.clear();
  bad[1].groups[1].id = 1;
  std::swap(bad[2].groups[0], bad[2].groups[1]);
  bad[3].groups[0].relative_target_ports.clear();
  bad[4].groups[0].relative_target_ports = {0};
  bad[5].groups[1].relative_target_ports = {1};
  bad[6].groups[0].state = AccessState::logical_block_dependent;
  bad[7].groups[0].relative_target_ports.assign(kPortsPerGroupMax + 1, 9);
  for (const PortGroups& groups : bad) {
    EXPECT_FALSE(is_valid(groups)) << &groups - bad.data();
    const Decision decision = on_port_groups(*disk.state, std::make_shared<const PortGroups>(groups));
    EXPECT_EQ(decision.state, nullptr);
    EXPECT_TRUE(decision.unit_attentions.empty());
  }
  PortGroups many;
  for (uint16_t id = 1; id <= kPortGroupsMax + 1; ++id) {
    many.groups.push_back({id, AccessState::standby, AccessStatus::none, false, {id}});
  }
  EXPECT_FALSE(is_valid(many));
  many.groups.pop_back();
  EXPECT_TRUE(is_valid(many));
  EXPECT_EQ(port_count(many), kPortGroupsMax);
}

}  // namespace
}  // namespace itgtd::scsi

#include <string>

#include "scsi/vpd.h"
#include "tests/scsi/target_fixture.h"

namespace itgtd::scsi {
namespace {

using Wire = std::vector<uint8_t>;

class Inquiry : public TargetFixture {
 protected:
  Outcome page(uint8_t code, uint64_t lun = kLun0) { return run(nexus, lun, {0x12, 1, code, 0x10, 0x00, 0}); }
  Outcome standard(uint64_t lun = kLun0) { return run(nexus, lun, {0x12, 0, 0, 0x10, 0x00, 0}); }

  void give_groups(std::vector<PortGroup> groups) {
    LuState state = *disk.state;
    state.port_groups = std::make_shared<const PortGroups>(PortGroups{std::move(groups), 0});
    set_state(disk, state);
  }

  static std::string text(const Wire& data, size_t at, size_t count) {
    return {data.begin() + static_cast<std::ptrdiff_t>(at),
            data.begin() + static_cast<std::ptrdiff_t>(at + count)};
  }
  /// Page header, then `body`.
  static Wire vpd(uint8_t code, Wire body) {
    Wire whole = {0x00, code, static_cast<uint8_t>(body.size() >> 8), static_cast<uint8_t>(body.size())};
    whole.insert(whole.end(), body.begin(), body.end());
    return whole;
  }
  static Wire padded(Wire bytes, size_t size) {
    bytes.resize(size);
    return bytes;
  }
  static void append(Wire& to, Wire header, std::string_view text, size_t zeros = 0) {
    to.insert(to.end(), header.begin(), header.end());
    to.insert(to.end(), text.begin(), text.end());
    to.insert(to.end(), zeros, 0);
  }
};

TEST_F(Inquiry, Standard) {
  const Wire data = standard().data;
  ASSERT_EQ(data.size(), 96U);
  EXPECT_EQ(Wire(data.begin(), data.begin() + 8), (Wire{0x00, 0x00, 0x06, 0x12, 91, 0x38, 0, 0x02}));
  EXPECT_EQ(text(data, 8, 28), "LIO-ORG p_iscsi_lun_0   1.0 ");
  EXPECT_EQ(Wire(data.begin() + 36, data.begin() + 58), Wire(22));
  EXPECT_EQ(Wire(data.begin() + 58, data.begin() + 66),
            (Wire{0x00, 0xA0, 0x04, 0x60, 0x04, 0xC0, 0x09, 0x60}));
  EXPECT_EQ(Wire(data.begin() + 66, data.end()), Wire(30));
}

TEST_F(Inquiry, RemovableAndLongNames) {
  cartridge.identity.vendor = "VENDOR-TOO-LONG";
  cartridge.identity.product = "";
  const Wire data = standard(kLun1).data;
  EXPECT_EQ(data[1], 0x80);
  EXPECT_EQ(text(data, 8, 24), "VENDOR-T" + std::string(16, ' '));
}

TEST_F(Inquiry, NoLogicalUnit) {
  Wire data = standard(kLunMissing).data;
  ASSERT_EQ(data.size(), 96U);
  EXPECT_EQ(data[0], 0x7F);
  EXPECT_EQ(data[2], 0x06);
  EXPECT_EQ(data[5], 0) << "what a unit can do, one that is not there can't";
  EXPECT_EQ(page(0x00, kLunMissing).data, (Wire{0x7F, 0x00, 0, 1, 0x00}));
  EXPECT_TRUE(is_check(page(0x83, kLunMissing), sense::invalid_field_in_cdb(2, 7)));
  data = standard(kLunWellKnown).data;
  EXPECT_EQ(data[0], 0x1E);
}

TEST_F(Inquiry, PageCodeWithoutEvpd) {
  EXPECT_TRUE(is_check(run({0x12, 0, 1, 1, 0, 0}), sense::invalid_field_in_cdb(2, 7)));
}

TEST_F(Inquiry, OnlyTheListedPagesAreThere) {
  const Wire list = page(0x00).data;
  EXPECT_EQ(list, (Wire{0x00, 0x00, 0, 10, 0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8F, 0xB0, 0xB1, 0xB2}));
  for (unsigned code = 0; code < 256; ++code) {
    const Outcome outcome = page(static_cast<uint8_t>(code));
    if (std::find(list.begin() + 4, list.end(), code) == list.end()) {
      EXPECT_TRUE(is_check(outcome, sense::invalid_field_in_cdb(2, 7))) << code;
      continue;
    }
    ASSERT_TRUE(is_good(outcome)) << code;
    EXPECT_EQ(outcome.data[0], 0);
    EXPECT_EQ(outcome.data[1], code);
    EXPECT_EQ(size_t{outcome.data[2]} * 256 + outcome.data[3] + 4, outcome.data.size());
  }
}

TEST_F(Inquiry, SerialNumber) {
  const Wire golden = vpd(0x80, {'a', 'a', 'a', 'a', 'a', 'a', 'a', '0'});
  EXPECT_EQ(page(0x80).data, golden);
  disk.identity.serial = std::string(5000, '7');
  EXPECT_EQ(page(0x80).data.size(), 256U);
}

TEST_F(Inquiry, DeviceIdentification) {
  Wire body = {0x01, 0x03, 0, 16, 0x60, 0x01, 0x40, 0x5a, 0xaa, 0xaa, 0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  append(body, {0x02, 0x01, 0, 30}, "LIO-ORG p_iscsi_lun_0:aaaaaaa0");
  append(body, {0x51, 0x94, 0, 4, 0, 0, 0, 1}, "");
  append(body, {0x51, 0x95, 0, 4, 0, 0, 0, 1}, "");
  append(body, {0x53, 0x98, 0, 40}, "iqn.2017-01.com.linbit:drbd0,t,0x0001", 3);
  append(body, {0x53, 0xA8, 0, 32}, "iqn.2017-01.com.linbit:drbd0", 4);
  EXPECT_EQ(page(0x83).data, vpd(0x83, body));
}

TEST_F(Inquiry, DesignatorsOfThePortThatItIsSeenThrough) {
  disk.relative_target_port = 0x1A2B;
  disk.port_group = 0x0203;
  Wire numbers;
  append(numbers, {0x51, 0x94, 0, 4, 0, 0, 0x1A, 0x2B}, "");
  append(numbers, {0x51, 0x95, 0, 4, 0, 0, 0x02, 0x03}, "");
  append(numbers, {0x53, 0x98, 0, 40}, "iqn.2017-01.com.linbit:drbd0,t,0x1a2b", 3);
  const Wire data = page(0x83).data;
  EXPECT_NE(std::search(data.begin(), data.end(), numbers.begin(), numbers.end()), data.end());
}

TEST_F(Inquiry, PortsOfAllGroups) {
  Wire one = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 44};
  append(one, {0x53, 0x98, 0, 40}, "iqn.2017-01.com.linbit:drbd0,t,0x0001", 3);
  EXPECT_EQ(page(0x88).data, vpd(0x88, one));
  EXPECT_EQ(standard().data[6], 0);

  give_groups({{1, {}, {}, false, {1}}, {2, AccessState::standby, {}, false, {0x0102}}});
  Wire two = one;
  two.insert(two.end(), {0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 44});
  append(two, {0x53, 0x98, 0, 40}, "iqn.2017-01.com.linbit:drbd0,t,0x0102", 3);
  EXPECT_EQ(page(0x88).data, vpd(0x88, two));
  EXPECT_EQ(standard().data[6], 0x10) << "MULTIP";

  // The longest names of the most ports: as many as fit.
  disk.identity.target_name = std::string(223, 't');
  std::vector<PortGroup> groups;
  for (uint16_t id = 1; id <= kPortGroupsMax; ++id) groups.push_back({id, {}, {}, false, {id}});
  give_groups(groups);
  const Wire data = page(0x88).data;
  EXPECT_EQ(data.size(), 4 + 16 * (12 + 4 + 236U));
  EXPECT_EQ(size_t{data[2]} * 256 + data[3] + 4, data.size());
}

// SPC-4 §5.15.2: away, but not gone; every page says so.
TEST_F(Inquiry, QualifierOfAUnitThatIsAway) {
  const std::pair<AccessState, uint8_t> qualifiers[] = {
      {AccessState::active_optimized, 0x00}, {AccessState::active_non_optimized, 0x00},
      {AccessState::standby, 0x00},          {AccessState::unavailable, 0x20},
      {AccessState::offline, 0x20},          {AccessState::transitioning, 0x00}};
  for (const auto& [state, first] : qualifiers) {
    give_groups({{1, state, {}, false, {1}}});
    const Outcome outcome = standard();
    ASSERT_TRUE(is_good(outcome));
    EXPECT_EQ(outcome.data[0], first) << int{first};
    EXPECT_EQ(page(0x83).data[0], first);
  }
}

// A unit that does not serve commands is still asked who it is.
TEST_F(Inquiry, AnswersInEveryCondition) {
  const Wire golden = standard().data;
  for (uint8_t condition = 0; condition <= static_cast<uint8_t>(LuCondition::sanitize_failed); ++condition) {
    LuState state = *disk.state;
    state.condition = static_cast<LuCondition>(condition);
    state.reserved_by = other.id();
    set_state(disk, state);
    nexus.raise(0, Asc::mode_parameters_changed);
    EXPECT_EQ(standard().data, golden) << int{condition};
    EXPECT_TRUE(is_good(page(0xB0)));
    EXPECT_TRUE(nexus.pending(0)) << "INQUIRY takes no unit attention away";
  }
}

TEST_F(Inquiry, ModePagePolicy) {
  EXPECT_EQ(page(0x87).data, vpd(0x87, {0x3F, 0xFF, 0, 0}));
}

TEST_F(Inquiry, TheLongestNamesFit) {
  disk.identity.serial = std::string(1000, 's');
  disk.identity.product = std::string(1000, 'p');
  disk.identity.target_name = std::string(1000, 't');
  EXPECT_TRUE(is_good(page(0x83)));
  // The longest name that iSCSI has, RFC 7143 §4.2.7.1.
  disk.identity.target_name = std::string(223, 't');
  const Wire data = page(0x83).data;
  const std::string whole = text(data, 0, data.size());
  EXPECT_NE(whole.find(std::string(223, 't') + ",t,0x0001"), std::string::npos);
}

TEST_F(Inquiry, ExtendedInquiry) {
  EXPECT_EQ(page(0x86).data, vpd(0x86, padded({0x00, 0x01, 0x01}, 60)));
}

TEST_F(Inquiry, BlockLimitsOfAThickOne) {
  EXPECT_EQ(page(0xB0).data,
            vpd(0xB0, padded({0, 0xFF, 0,    8,  // COMPARE AND WRITE of 255; granularity: a physical block
                              0, 0,    0x40, 0,  // 8 MiB
                              0, 0,    0x08, 0,  // 1 MiB
                              0, 0,    0,    0,  //
                              0, 0,    0,    0, 0, 0, 0,    0,  // no UNMAP
                              0, 0,    0,    0, 0, 0, 0,    0,  //
                              0, 0,    0,    0, 0, 0, 0xFF, 0xFF,
                              0, 0,    0,    8, 0, 0, 0,    8,  // atomic: a physical block
                              0, 0,    0,    8},
                             60)));
  EXPECT_EQ(page(0xB2).data, vpd(0xB2, {0, 0, 0, 0}));
}

TEST_F(Inquiry, BlockLimitsOfAThinOne) {
  disk.geometry.block_bytes = 4096;
  disk.geometry.physical_block_exponent = 0;
  disk.geometry.thin = true;
  disk.geometry.unmapped_reads_zero = true;
  disk.geometry.unmap_granularity_bytes = 65536;
  disk.geometry.optimal_transfer_bytes = 64 << 20;
  EXPECT_EQ(page(0xB0).data,
            vpd(0xB0, padded({0,    0xFF, 0,    1,   //
                              0,    0,    0x08, 0,   //
                              0,    0,    0x08, 0,   // not above the maximum
                              0,    0,    0,    0,   //
                              0,    0x10, 0,    0,   // 1 Mi blocks
                              0,    0,    1,    0,   // 256 descriptors
                              0,    0,    0,    16,  //
                              0x80, 0,    0,    0,   // UGAVALID
                              0,    0,    0,    0,  0, 0, 0xFF, 0xFF, 0, 0, 0, 1, 0, 0, 0, 1,  //
                              0,    0,    0,    1},
                             60)));
  EXPECT_EQ(page(0xB2).data, vpd(0xB2, {0, 0xE4, 2, 0}));
  disk.geometry.unmapped_reads_zero = false;
  EXPECT_EQ(page(0xB2).data, vpd(0xB2, {0, 0xE0, 2, 0}));
}

TEST_F(Inquiry, RotationRate) {
  EXPECT_EQ(page(0xB1).data, vpd(0xB1, padded({0, 1, 0, 0x40, 0x02}, 60)));
  disk.geometry.rotation_rate = 7200;
  disk.geometry.thin = true;
  EXPECT_EQ(page(0xB1).data, vpd(0xB1, padded({0x1C, 0x20, 0, 0x40, 0x02}, 60)));
  disk.geometry.unmapped_reads_zero = true;
  EXPECT_EQ(page(0xB1).data, vpd(0xB1, padded({0x1C, 0x20, 0, 0x40, 0x03}, 60))) << "VBULS";
}

}  // namespace
}  // namespace itgtd::scsi

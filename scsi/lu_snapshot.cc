#include "scsi/lu_snapshot.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/endian.h"
#include "scsi/persistent_reservations.h"
#include "scsi/transport_id.h"

namespace itgtd::scsi {
namespace {

constexpr uint16_t kVersion = 1;

enum class Tag : uint16_t {
  reservations = 1,
  identifying_information = 2,
  identifying_text = 3,
  saved_mode_pages = 4,
  condition = 5,
  failover = 6,
  registrant_attentions = 7,
};

/// Why the medium can't be used, in the section `condition`.
enum class Unfinished : uint8_t { format = 1, sanitize = 2, sanitize_that_may_be_left = 3 };

struct SectionHeader {
  be16 tag;
  be32 length_bytes;
};
static_assert(WireStruct<SectionHeader> && sizeof(SectionHeader) == 6);

struct ReservationsHeader {
  uint8_t type;  ///< 0: no reservation
  uint8_t reserved;
  be16 holder;
  be16 registrant_count;
};
static_assert(WireStruct<ReservationsHeader> && sizeof(ReservationsHeader) == 6);
static_assert(kRegistrantsMax <= 0xFFFF);

/// The name follows.
struct RegistrantHeader {
  be64 key;
  be16 relative_target_port;
  uint8_t all_target_ports;
  uint8_t isid[6];
  uint8_t name_bytes;
};
static_assert(WireStruct<RegistrantHeader> && sizeof(RegistrantHeader) == 18);
static_assert(kInitiatorNameBytesMax <= 0xFF);

/// What of the reservations only a failover keeps.
struct FailoverSection {
  be32 generation;
  uint8_t persist;
};
static_assert(WireStruct<FailoverSection> && sizeof(FailoverSection) == 5);

/// What waits for one port; the name follows.
struct AttentionHeader {
  uint8_t kinds;  ///< a bit for each of kRegistrantAttentions
  uint8_t isid[6];
  uint8_t name_bytes;
};
static_assert(WireStruct<AttentionHeader> && sizeof(AttentionHeader) == 8);
static_assert(kRegistrantAttentions.size() <= 8);
static_assert(sizeof(RegistrantHeader) + sizeof(AttentionHeader) == 18 + 8);  // kSnapshotBytesMax

// Writing.

using Snapshot = std::vector<std::byte>;

void append(Snapshot& to, ConstBytes bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

void append_section(Snapshot& to, Tag tag, ConstBytes content) {
  if (content.empty()) return;
  if (to.empty()) append(to, bytes_of(be16(kVersion)));
  SectionHeader header;
  header.tag.set(static_cast<uint16_t>(tag));
  header.length_bytes.set(static_cast<uint32_t>(content.size()));
  append(to, bytes_of(header));
  append(to, content);
}

Snapshot reservations_section(const PersistentReservations& reservations) {
  Snapshot section;
  ReservationsHeader header{};
  header.type = reservations.type ? static_cast<uint8_t>(*reservations.type) : uint8_t{0};
  header.holder.set(static_cast<uint16_t>(reservations.holder));
  header.registrant_count.set(static_cast<uint16_t>(reservations.registrants.size()));
  append(section, bytes_of(header));
  for (const Registrant& registrant : reservations.registrants) {
    RegistrantHeader one{};
    one.key.set(registrant.key);
    one.relative_target_port.set(registrant.relative_target_port);
    one.all_target_ports = registrant.all_target_ports ? 1 : 0;
    std::ranges::copy(registrant.port.isid, one.isid);
    one.name_bytes = static_cast<uint8_t>(registrant.port.name.size());
    append(section, bytes_of(one));
    append(section, as_bytes(registrant.port.name));
  }
  return section;
}

Snapshot failover_section(const PersistentReservations& reservations) {
  FailoverSection section{};
  section.generation.set(reservations.generation);
  section.persist = reservations.persist ? 1 : 0;
  Snapshot bytes;
  append(bytes, bytes_of(section));
  return bytes;
}

Snapshot attentions_section(const RegistrantAttentions& attentions) {
  Snapshot section;
  for (const RegistrantAttentions::Pending& pending : attentions.all()) {
    AttentionHeader header{};
    for (size_t kind = 0; kind < pending.kinds.size(); ++kind) {
      if (pending.kinds[kind].waits) header.kinds = static_cast<uint8_t>(header.kinds | 1U << kind);
    }
    std::ranges::copy(pending.port.isid, header.isid);
    header.name_bytes = static_cast<uint8_t>(pending.port.name.size());
    append(section, bytes_of(header));
    append(section, as_bytes(pending.port.name));
  }
  return section;
}

std::optional<Unfinished> unfinished(const LuState& state) {
  switch (state.condition) {
    case LuCondition::formatting:
    case LuCondition::format_failed:
      return Unfinished::format;
    case LuCondition::sanitizing:
    case LuCondition::sanitize_failed:
      return state.sanitize_may_be_left ? Unfinished::sanitize_that_may_be_left : Unfinished::sanitize;
    case LuCondition::ready:
    case LuCondition::not_ready:
    case LuCondition::stopped:
    case LuCondition::ejected:
      return std::nullopt;
  }
  return std::nullopt;
}

// Reading.

Error damaged(const std::string& what) {
  return {0, "what was kept of the logical unit is damaged: " + what};
}

/// Takes wire structs and bytes off the front; nothing when there are too few.
class Reader {
 public:
  explicit Reader(ConstBytes bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  std::optional<ConstBytes> take(size_t count) {
    if (count > bytes_.size()) return std::nullopt;
    const ConstBytes taken = bytes_.first(count);
    bytes_ = bytes_.subspan(count);
    return taken;
  }
  template <WireStruct T>
  std::optional<T> take() {
    const auto taken = take(sizeof(T));
    if (!taken) return std::nullopt;
    return load<T>(*taken);
  }

 private:
  ConstBytes bytes_;
};

std::optional<Registrant> read_registrant(Reader& reader) {
  const auto header = reader.take<RegistrantHeader>();
  if (!header || header->key.get() == 0 || header->all_target_ports > 1) return std::nullopt;
  const auto name = reader.take(header->name_bytes);
  if (!name || !is_initiator_name(as_text(*name))) return std::nullopt;
  Registrant registrant;
  registrant.key = header->key.get();
  registrant.port.name = as_text(*name);
  std::ranges::copy(header->isid, registrant.port.isid.begin());
  registrant.relative_target_port = header->relative_target_port.get();
  registrant.all_target_ports = header->all_target_ports != 0;
  return registrant;
}

/// True exactly when the two stand for a nexus in common.
bool overlap(const Registrant& a, const Registrant& b) {
  return (a.all_target_ports || b.all_target_ports || a.relative_target_port == b.relative_target_port) &&
         a.port == b.port;
}

Result<void> read_reservations(ConstBytes section, LuState& state) {
  const Error wrong = damaged("its reservations");
  Reader reader(section);
  const auto header = reader.take<ReservationsHeader>();
  if (!header || header->reserved != 0) return wrong;
  const uint16_t count = header->registrant_count.get();
  if (count == 0 || count > kRegistrantsMax) return wrong;
  PersistentReservations reservations;
  reservations.persist = true;
  for (uint16_t i = 0; i < count; ++i) {
    auto registrant = read_registrant(reader);
    if (!registrant) return wrong;
    const auto& known = reservations.registrants;
    if (std::ranges::any_of(known, [&](const Registrant& one) { return overlap(one, *registrant); })) {
      return wrong;
    }
    reservations.registrants.push_back(std::move(*registrant));
  }
  if (!reader.empty()) return wrong;
  reservations.holder = header->holder.get();
  if (header->type != 0) {
    reservations.type = reservation_type(header->type);
    if (!reservations.type) return wrong;
  }
  const bool one_holder = reservations.type && !is_all_registrants(*reservations.type);
  if (reservations.holder >= (one_holder ? count : 1)) return wrong;
  state.reservations = std::make_shared<const PersistentReservations>(std::move(reservations));
  return {};
}

/// Behind the reservations: sections are in the order of their tags.
Result<void> read_failover(ConstBytes section, LuState& state) {
  const Error wrong = damaged("its reservations");
  if (section.size() != sizeof(FailoverSection)) return wrong;
  const auto content = load<FailoverSection>(section);
  if (content.persist > 1) return wrong;
  PersistentReservations reservations;
  if (state.reservations != nullptr) reservations = *state.reservations;
  reservations.generation = content.generation.get();
  reservations.persist = content.persist != 0;
  state.reservations = std::make_shared<const PersistentReservations>(std::move(reservations));
  return {};
}

Result<void> read_attentions(ConstBytes section, RegistrantAttentions& attentions) {
  const Error wrong = damaged("its unit attentions");
  Reader reader(section);
  while (!reader.empty()) {
    const auto header = reader.take<AttentionHeader>();
    if (!header || header->kinds >> kRegistrantAttentions.size() != 0) return wrong;
    const auto name = reader.take(header->name_bytes);
    if (!name || !is_initiator_name(as_text(*name))) return wrong;
    RegistrantAttentions::Pending pending;
    pending.port.name = as_text(*name);
    std::ranges::copy(header->isid, pending.port.isid.begin());
    for (size_t kind = 0; kind < pending.kinds.size(); ++kind) {
      pending.kinds[kind].waits = (header->kinds >> kind & 1) != 0;
    }
    if (!attentions.add(std::move(pending))) return wrong;
  }
  return {};
}

Result<void> read_condition(ConstBytes section, LuState& state) {
  const uint8_t code = section.size() == 1 ? std::to_integer<uint8_t>(section[0]) : 0;
  if (code < static_cast<uint8_t>(Unfinished::format) ||
      code > static_cast<uint8_t>(Unfinished::sanitize_that_may_be_left)) {
    return damaged("its condition");
  }
  const auto what = static_cast<Unfinished>(code);
  state.condition = what == Unfinished::format ? LuCondition::format_failed : LuCondition::sanitize_failed;
  state.sanitize_may_be_left = what == Unfinished::sanitize_that_may_be_left;
  return {};
}

Result<void> read_bytes(ConstBytes section, std::vector<std::byte>& to) {
  if (section.size() > kSnapshotTextBytesMax) return damaged("a section is too long");
  to.assign(section.begin(), section.end());
  return {};
}

Result<void> read_section(uint16_t tag, ConstBytes section, LuState& state,
                          RegistrantAttentions& attentions) {
  switch (static_cast<Tag>(tag)) {
    case Tag::reservations:
      return read_reservations(section, state);
    case Tag::identifying_information:
      return read_bytes(section, state.identifying_information);
    case Tag::identifying_text:
      return read_bytes(section, state.identifying_text);
    case Tag::saved_mode_pages:
      return read_bytes(section, state.saved_mode_pages);
    case Tag::condition:
      return read_condition(section, state);
    case Tag::failover:
      return read_failover(section, state);
    case Tag::registrant_attentions:
      return read_attentions(section, attentions);
  }
  return Error{0, "section " + std::to_string(tag) +
                      " of what was kept of the logical unit is unknown to "
                      "this program: a later one wrote it"};
}

/// SPC-4 §5.12, Preserving persistent reservations and registrations.
void drop_what_power_loss_ends(LuState& state) {
  PersistentReservations kept = *state.reservations;
  kept.generation = 0;
  state.reservations.reset();
  if (kept.persist && !kept.registrants.empty()) {
    state.reservations = std::make_shared<const PersistentReservations>(std::move(kept));
  }
}

}  // namespace

std::vector<std::byte> snapshot(const LuState& state, const RegistrantAttentions* attentions) {
  Snapshot bytes;
  const bool of_group = attentions != nullptr;
  const PersistentReservations* reservations = state.reservations.get();
  if (reservations != nullptr && (reservations->persist || of_group) && !reservations->registrants.empty()) {
    append_section(bytes, Tag::reservations, reservations_section(*reservations));
  }
  append_section(bytes, Tag::identifying_information, state.identifying_information);
  append_section(bytes, Tag::identifying_text, state.identifying_text);
  append_section(bytes, Tag::saved_mode_pages, state.saved_mode_pages);
  if (const auto what = unfinished(state)) {
    const auto code = static_cast<std::byte>(*what);
    append_section(bytes, Tag::condition, {&code, 1});
  }
  if (of_group && reservations != nullptr && *reservations != PersistentReservations{}) {
    append_section(bytes, Tag::failover, failover_section(*reservations));
  }
  if (of_group) append_section(bytes, Tag::registrant_attentions, attentions_section(*attentions));
  return bytes;
}

Result<void> restore(ConstBytes bytes, LuState& state, RegistrantAttentions* attentions) {
  if (bytes.empty()) return {};
  Reader reader(bytes);
  const auto version = reader.take<be16>();
  if (!version) return damaged("it is cut short");
  if (version->get() != kVersion) {
    return Error{0, "what was kept of the logical unit is of version " + std::to_string(version->get()) +
                        ", which this program does not know"};
  }
  LuState restored = state;
  RegistrantAttentions restored_attentions;
  uint16_t last_tag = 0;
  do {
    const auto header = reader.take<SectionHeader>();
    if (!header) return damaged("it is cut short");
    const auto section = reader.take(header->length_bytes.get());
    if (!section || section->empty()) return damaged("a section is cut short");
    const uint16_t tag = header->tag.get();
    if (tag <= last_tag) return damaged("its sections are out of order");
    last_tag = tag;
    if (auto read = read_section(tag, *section, restored, restored_attentions); !read) return read;
  } while (!reader.empty());
  if (attentions != nullptr) {
    *attentions = std::move(restored_attentions);
  } else if (restored.reservations != state.reservations) {
    drop_what_power_loss_ends(restored);
  }
  state = std::move(restored);
  return {};
}

}  // namespace itgtd::scsi

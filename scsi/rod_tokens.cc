#include "scsi/rod_tokens.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace itgtd::scsi {
namespace {

std::vector<RodRange> cover(const std::vector<RodToken>& tokens) {
  std::vector<RodRange> all;
  for (const RodToken& token : tokens) {
    std::ranges::copy_if(token.ranges, std::back_inserter(all), [](const auto& r) { return r.blocks != 0; });
  }
  std::ranges::sort(all, {}, &RodRange::lba);
  std::vector<RodRange> apart;
  for (const RodRange& range : all) {
    if (!apart.empty() && range.lba <= apart.back().end()) {
      RodRange& last = apart.back();
      last.blocks = std::max(last.end(), range.end()) - last.lba;
    } else {
      apart.push_back(range);
    }
  }
  return apart;
}

/// The tokens of a state, on their way to the next one.
class Change {
 public:
  explicit Change(const LuState& state) : before_(state) {
    if (state.tokens) tokens_ = state.tokens->tokens;
    if (state.ended_tokens) ended_ = state.ended_tokens->tokens;
  }

  [[nodiscard]] std::vector<RodToken>& tokens() { return tokens_; }
  void set_changed() { changed_ = true; }

  template <typename Predicate>
  void end_if(Asc why, Predicate predicate) {
    const auto gone = std::stable_partition(tokens_.begin(), tokens_.end(),
                                            [&](const RodToken& token) { return !predicate(token); });
    for (auto at = gone; at != tokens_.end(); ++at) ended_.push_back({at->id, why});
    if (gone == tokens_.end()) return;
    tokens_.erase(gone, tokens_.end());
    if (ended_.size() > kEndedRodTokensMax) {
      const auto surplus = static_cast<std::ptrdiff_t>(ended_.size() - kEndedRodTokensMax);
      ended_.erase(ended_.begin(), ended_.begin() + surplus);
    }
    ended_changed_ = true;
    changed_ = true;
  }
  void drop_expired(uint64_t time_ms) {
    end_if(Asc::token_expired, [&](const RodToken& token) { return token.expires_ms <= time_ms; });
  }

  [[nodiscard]] Decision decide() {
    if (!changed_) return {};
    LuState next = before_;
    next.tokens.reset();
    if (!tokens_.empty()) {
      std::vector<RodRange> covered = cover(tokens_);
      next.tokens = std::make_shared<const RodTokens>(RodTokens{std::move(tokens_), std::move(covered)});
    }
    if (ended_changed_) {
      next.ended_tokens = std::make_shared<const EndedRodTokens>(EndedRodTokens{std::move(ended_)});
    }
    return publish(before_, std::move(next));
  }
  [[nodiscard]] Decision decide_and_resume() {
    Decision decision = decide();
    decision.after = AfterUpdate::resume;
    return decision;
  }

 private:
  const LuState& before_;
  std::vector<RodToken> tokens_;
  std::vector<EndedRodTokens::Ended> ended_;
  bool changed_ = false;
  bool ended_changed_ = false;
};

}  // namespace

uint64_t RodToken::blocks() const {
  uint64_t sum = 0;
  for (const RodRange& range : ranges) sum += range.blocks;
  return sum;
}

const RodToken* find_rod_token(const LuState& state, const RodTokenId& id) {
  if (state.tokens == nullptr) return nullptr;
  const auto at = std::ranges::find(state.tokens->tokens, id, &RodToken::id);
  return at == state.tokens->tokens.end() ? nullptr : &*at;
}

Asc why_ended(const LuState& state, const RodTokenId& id) {
  if (state.ended_tokens == nullptr) return Asc::token_unknown;
  const auto& ended = state.ended_tokens->tokens;
  const auto at = std::ranges::find(ended, id, &EndedRodTokens::Ended::id);
  return at == ended.end() ? Asc::token_unknown : at->why;
}

bool overlaps_token(const LuState& state, uint64_t lba, uint64_t blocks) {
  if (state.tokens == nullptr || blocks == 0) return false;
  const auto& covered = state.tokens->covered;
  // The first range that ends behind `lba`.
  const auto at = std::ranges::upper_bound(covered, lba, {}, &RodRange::end);
  return at != covered.end() && (at->lba <= lba || at->lba - lba < blocks);
}

Decision on_blocks_written(const LuState& state, uint64_t lba, uint64_t blocks) {
  // `blocks` may be more than there are: everything.
  const RodRange written{lba, std::min(blocks, UINT64_MAX - lba)};
  Change change(state);
  change.end_if(Asc::token_revoked, [&](const RodToken& token) {
    return std::ranges::any_of(token.ranges, [&](const RodRange& range) { return range.overlaps(written); });
  });
  return change.decide();
}

Decision add_rod_token(const LuState& state, RodToken token, uint64_t time_ms) {
  Change change(state);
  change.drop_expired(time_ms);
  std::vector<RodToken>& tokens = change.tokens();
  if (tokens.size() == kRodTokensMax) {
    const auto oldest = std::ranges::find(tokens, token.creator, &RodToken::creator);
    if (oldest != tokens.end()) {
      const RodTokenId id = oldest->id;
      change.end_if(Asc::token_cancelled, [&](const RodToken& each) { return each.id == id; });
    }
  }
  if (tokens.size() < kRodTokensMax) {
    tokens.push_back(std::move(token));
    change.set_changed();
  }
  return change.decide_and_resume();
}

Decision touch_rod_token(const LuState& state, const RodTokenId& id, uint64_t time_ms) {
  Change change(state);
  change.drop_expired(time_ms);
  const auto token = std::ranges::find(change.tokens(), id, &RodToken::id);
  if (token != change.tokens().end()) {
    // Every change of the state is told to all workers: not for less than a second.
    constexpr uint64_t kWorthTellingMs = 1000;
    const uint64_t expires_ms = time_ms + token->inactivity_timeout_ms;
    if (expires_ms >= token->expires_ms + kWorthTellingMs) {
      token->expires_ms = expires_ms;
      change.set_changed();
    }
  }
  return change.decide_and_resume();
}

Decision delete_rod_token(const LuState& state, const RodTokenId& id, uint64_t time_ms) {
  Change change(state);
  change.drop_expired(time_ms);
  change.end_if(Asc::token_deleted, [&](const RodToken& token) { return token.id == id; });
  return change.decide_and_resume();
}

RodTokenWire encode_rod_token(const LogicalUnit& lu, const RodToken& token) {
  const Geometry& geometry = lu.geometry;
  RodTokenWire wire;
  wire.rod_type.set(static_cast<uint32_t>(RodType::point_in_time_change_vulnerable));
  wire.rod_token_length.set(kRodTokenLength);
  std::copy_n(token.id.begin(), wire.copy_manager_rod_token_identifier.size(),
              wire.copy_manager_rod_token_identifier.begin());
  wire.creator = cscd_descriptor(lu);
  wire.number_of_bytes_represented.set(token.blocks() * geometry.block_bytes);
  // READ CAPACITY(16) parameter data, without its first field.
  wire.logical_block_length_in_bytes.set(geometry.block_bytes);
  wire.logical_blocks_per_physical_block_exponent = geometry.physical_block_exponent & 0x0F;
  constexpr uint16_t kLbpme = 0x8000;
  constexpr uint16_t kLbprz = 0x4000;
  const unsigned provisioning = (geometry.thin ? kLbpme : 0U) | (geometry.unmapped_reads_zero ? kLbprz : 0U);
  wire.provisioning_and_lowest_aligned_lba.set(
      static_cast<uint16_t>(provisioning | (geometry.lowest_aligned_lba & 0x3FFFU)));
  // SPC-4 §7.8.6.11: the SCSI name string of the target device, in UTF-8, ended and padded by zeros.
  const ConstBytes name = as_bytes(std::string_view(lu.identity.target_name).substr(0, 251));
  const size_t padded = (name.size() / 4 + 1) * 4;
  auto& descriptor = wire.target_device_descriptor;
  descriptor[0] = std::byte{0x53};  // iSCSI, UTF-8
  descriptor[1] = std::byte{0xA8};  // PIV, target device, SCSI name string
  descriptor[3] = static_cast<std::byte>(padded);
  std::ranges::copy(name, descriptor.begin() + 4);
  wire.id = token.id;
  return wire;
}

}  // namespace itgtd::scsi

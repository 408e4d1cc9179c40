#include "ha/adapters/corosync_cmap.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstdlib>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace itgtd::ha {
namespace {

constexpr std::string_view kNodePrefix = "nodelist.node.";

/// The types of numbers differ from key to key, and from version to version.
std::optional<uint64_t> number(cmap_handle_t handle, const char* key) {
  uint32_t wide = 0;
  if (cmap_get_uint32(handle, key, &wide) == CS_OK) return wide;
  uint8_t narrow = 0;
  if (cmap_get_uint8(handle, key, &narrow) == CS_OK) return narrow;
  return std::nullopt;
}

std::string text(cmap_handle_t handle, const char* key) {
  char* found = nullptr;
  if (cmap_get_string(handle, key, &found) != CS_OK || found == nullptr) return {};
  std::string value(found);
  std::free(found);
  return value;
}

bool is_set(cmap_handle_t handle, const char* key) {
  return number(handle, key).value_or(0) != 0;
}

/// The positions that the node list has.
Result<std::map<uint64_t, NodeName>> nodes_by_position(cmap_handle_t handle) {
  cmap_iter_handle_t iterator = 0;
  if (const cs_error_t error = cmap_iter_init(handle, "nodelist.node.", &iterator); error != CS_OK)
    return Error{0, "corosync does not list its nodes: " + name_of(error)};
  std::map<uint64_t, NodeName> nodes;
  std::array<char, CMAP_KEYNAME_MAXLEN + 1> key{};
  size_t length = 0;
  cmap_value_types_t type{};
  while (cmap_iter_next(handle, iterator, key.data(), &length, &type) == CS_OK) {
    const std::string_view name(key.data());
    if (!name.starts_with(kNodePrefix)) continue;
    const std::string_view rest = name.substr(kNodePrefix.size());
    uint64_t position = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), position);
    if (error == std::errc{} && end != rest.data() + rest.size() && *end == '.') nodes.try_emplace(position);
  }
  cmap_iter_finalize(handle, iterator);
  for (auto& [position, node] : nodes) {
    const auto key_of = [&](std::string_view what) {
      return fmt::format("{}{}.{}", kNodePrefix, position, what);
    };
    node.id = static_cast<NodeId>(number(handle, key_of("nodeid").c_str()).value_or(0));
    node.name = text(handle, key_of("name").c_str());
    if (node.name.empty()) node.name = text(handle, key_of("ring0_addr").c_str());
  }
  return nodes;
}

}  // namespace

std::string name_of(cs_error_t error) {
  const auto name = [&]() -> std::string_view {
    switch (error) {
      case CS_OK:
        return "CS_OK";
      case CS_ERR_LIBRARY:
        return "CS_ERR_LIBRARY";
      case CS_ERR_TIMEOUT:
        return "CS_ERR_TIMEOUT";
      case CS_ERR_TRY_AGAIN:
        return "CS_ERR_TRY_AGAIN";
      case CS_ERR_INVALID_PARAM:
        return "CS_ERR_INVALID_PARAM";
      case CS_ERR_NO_MEMORY:
        return "CS_ERR_NO_MEMORY";
      case CS_ERR_BAD_HANDLE:
        return "CS_ERR_BAD_HANDLE";
      case CS_ERR_ACCESS:
        return "CS_ERR_ACCESS";
      case CS_ERR_NOT_EXIST:
        return "CS_ERR_NOT_EXIST";
      case CS_ERR_EXIST:
        return "CS_ERR_EXIST";
      case CS_ERR_NO_RESOURCES:
        return "CS_ERR_NO_RESOURCES";
      case CS_ERR_NOT_SUPPORTED:
        return "CS_ERR_NOT_SUPPORTED";
      case CS_ERR_QUEUE_FULL:
        return "CS_ERR_QUEUE_FULL";
      case CS_ERR_TOO_BIG:
        return "CS_ERR_TOO_BIG";
      case CS_ERR_SECURITY:
        return "CS_ERR_SECURITY";
      default:
        return "error";
    }
  }();
  return fmt::format("{} ({})", name, static_cast<int>(error));
}

Result<std::unique_ptr<Cmap>> Cmap::connect() {
  cmap_handle_t handle = 0;
  const cs_error_t error = cmap_initialize(&handle);
  if (error == CS_OK) return std::unique_ptr<Cmap>(new Cmap(handle));
  if (error == CS_ERR_ACCESS || error == CS_ERR_SECURITY) {
    return Error{EACCES,
                 fmt::format("corosync refuses the connection, {}: run itgtd as root, or allow its user in "
                             "/etc/corosync/uidgid.d",
                             name_of(error))};
  }
  return Error{
      0, fmt::format("corosync does not answer, {}: start it (systemctl start corosync)", name_of(error))};
}

Cmap::~Cmap() {
  cmap_finalize(handle_);
}

Result<CorosyncSettings> Cmap::settings() const {
  const auto nodes = nodes_by_position(handle_);
  if (!nodes) return nodes.error();
  CorosyncSettings settings;
  for (const auto& [position, node] : nodes.value()) {
    if (node.id == 0) {
      return Error{
          0, fmt::format("corosync's node {} ('{}') has no nodeid: set nodelist.node.nodeid in corosync.conf",
                         position, node.name)};
    }
    settings.nodes.push_back(node);
  }
  const auto self = number(handle_, "nodelist.local_node_pos");
  const auto found = self ? nodes.value().find(*self) : nodes.value().end();
  if (found == nodes.value().end()) {
    return Error{
        0,
        "corosync has no nodelist with this node in it: itgtd needs one, with a nodeid and a name for "
        "each node, in corosync.conf"};
  }
  settings.self = found->second.id;
  settings.self_name = found->second.name;
  settings.token_ms = static_cast<TimeMs>(number(handle_, "runtime.config.totem.token").value_or(0));
  settings.consensus_ms = static_cast<TimeMs>(number(handle_, "runtime.config.totem.consensus").value_or(0));
  if (settings.token_ms == 0 || settings.consensus_ms == 0)
    return Error{0,
                 "corosync does not say with which token and consensus timeouts it runs: itgtd needs "
                 "corosync 2.4 or newer"};
  settings.quorum_provider = text(handle_, "quorum.provider") == "corosync_votequorum";
  settings.two_node = is_set(handle_, "quorum.two_node");
  settings.auto_tie_breaker = is_set(handle_, "quorum.auto_tie_breaker");
  settings.quorum_device = !text(handle_, "quorum.device.model").empty();
  return settings;
}

Result<void> Cmap::track_nodes(std::function<void()> on_change) {
  on_change_ = std::move(on_change);
  const auto notify = [](cmap_handle_t, cmap_track_handle_t, int32_t, const char*, cmap_notify_value,
                         cmap_notify_value, void* self) { static_cast<Cmap*>(self)->on_change_(); };
  cmap_track_handle_t track = 0;
  const int32_t changes = CMAP_TRACK_ADD | CMAP_TRACK_DELETE | CMAP_TRACK_MODIFY | CMAP_TRACK_PREFIX;
  const cs_error_t error = cmap_track_add(handle_, "nodelist.", changes, notify, this, &track);
  if (error != CS_OK)
    return Error{0, "corosync does not tell of changes of its node list: " + name_of(error)};
  return {};
}

Result<int> Cmap::fd() const {
  int fd = -1;
  if (const cs_error_t error = cmap_fd_get(handle_, &fd); error != CS_OK)
    return Error{0, "cmap_fd_get: " + name_of(error)};
  return fd;
}

cs_error_t Cmap::dispatch() const {
  return cmap_dispatch(handle_, CS_DISPATCH_ALL);
}

}  // namespace itgtd::ha

#include "target/config/keys.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "scsi/limits.h"
#include "target/config/syntax.h"
#include "target/config/text.h"

namespace itgtd::config {
namespace {

using std::string_view;

/// More workers than any machine that serves disks has cores.
constexpr uint64_t kWorkersMax = 1024;
/// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT has 4 bits (SBC-3 §5.16.2), so that 512 << 15 is the end.
constexpr uint64_t kPhysicalBlockBytesMax = uint64_t{512} << 15;

// In the order of the enums in config.h.
constexpr std::array<string_view, 3> kPolling = {"off", "adaptive", "always"};
constexpr std::array<string_view, 4> kLogLevels = {"error", "warning", "info", "debug"};
constexpr std::array<string_view, 3> kDigests = {"off", "optional", "required"};
constexpr std::array<string_view, 3> kThin = {"auto", "on", "off"};
constexpr std::array<string_view, 2> kFailback = {"never", "immediate"};
constexpr std::array<string_view, 1> kStorage = {"shared"};

static_assert(static_cast<size_t>(Polling::always) == 2 && static_cast<size_t>(Polling::off) == 0);
static_assert(static_cast<size_t>(LogLevel::debug) == 3 && static_cast<size_t>(LogLevel::error) == 0);
static_assert(static_cast<size_t>(DigestPolicy::required) == 2 &&
              static_cast<size_t>(DigestPolicy::off) == 0);
static_assert(static_cast<size_t>(ThinPolicy::automatic) == 0 && static_cast<size_t>(ThinPolicy::off) == 2);
static_assert(static_cast<size_t>(Failback::never) == 0 && static_cast<size_t>(Failback::immediate) == 1);

/// Stores a text if `complaint` is empty.
std::string keep(std::string& to, string_view text, std::string complaint) {
  if (complaint.empty()) to = text;
  return complaint;
}

std::string keep(bool& to, bool value) {
  to = value;
  return {};
}

ChapConfig& chap_of(Cursor& at) {
  ITGTD_ASSERT(at.target != nullptr && at.target->chap.has_value());
  return *at.target->chap;
}

constexpr SectionInfo kSections[] = {
    {Section::daemon, "daemon", Section::root, "[daemon]", false, "The process itself."},
    {Section::target, "target", Section::root, "[[target]]", true,
     "An iSCSI target: a name under which initiators find disks."},
    {Section::chap, "chap", Section::target, "[target.chap]", false,
     "Authentication of the target above it. Without this section initiators need none."},
    {Section::lun, "lun", Section::target, "[[target.lun]]", true, "A disk of the target above it."},
    {Section::cluster, "cluster", Section::root, "[cluster]", false,
     "This node is a member of a cluster. Without this section it is on its own."},
    {Section::group, "group", Section::root, "[[group]]", true,
     "What moves between the nodes together: storage, addresses, and the targets that name the group."},
};

constexpr KeyInfo kKeys[] = {
    {Section::daemon,
     "workers",
     ValueType::integer,
     "4",
     "0",
     "Number of data-path threads; 0 is one for each core that the process may use.",
     [](Cursor& at, const Value& value) {
       at.config.daemon.workers = static_cast<uint32_t>(value.integer);
       return std::string();
     },
     {},
     0,
     kWorkersMax},
    {Section::daemon, "polling", ValueType::choice, "\"adaptive\"", "\"adaptive\"",
     "How a worker waits for events: it sleeps (off), it polls a while first when it is busy (adaptive), or "
     "it never "
     "sleeps (always), which costs a core for each worker.",
     [](Cursor& at, const Value& value) {
       at.config.daemon.polling = static_cast<Polling>(value.integer);
       return std::string();
     },
     kPolling},
    {Section::daemon, "control_socket", ValueType::text, "\"/run/itgtd/control.sock\"",
     "\"/run/itgtd/control.sock\"", "Path of the unix socket on which itgtctl talks to the daemon.",
     [](Cursor& at, const Value& value) {
       if (value.text.size() > kSocketPathBytesMax) {
         return fmt::format("has {} bytes; the path of a unix socket has at most {}", value.text.size(),
                            kSocketPathBytesMax);
       }
       return keep(at.config.daemon.control_socket, value.text, check_absolute_path(value.text));
     }},
    {Section::daemon, "state_dir", ValueType::text, "\"/var/lib/itgtd\"", "\"/var/lib/itgtd\"",
     "Directory in which the daemon keeps what must survive a restart.",
     [](Cursor& at, const Value& value) {
       return keep(at.config.daemon.state_dir, value.text, check_absolute_path(value.text));
     }},
    {Section::daemon, "http", ValueType::text, "\"127.0.0.1:9860\"", "off",
     "Address and port of the metrics and the status page; the port is 9860 if it is left out.",
     [](Cursor& at, const Value& value) {
       if (value.text.empty()) return std::string("is empty; leave the key out to switch HTTP off");
       auto portal = parse_portal(value.text, kHttpPort);
       if (!portal) return portal.error().to_string();
       at.config.daemon.http = std::move(*portal);
       return std::string();
     }},
    {Section::daemon, "log_level", ValueType::choice, "\"info\"", "\"info\"",
     "The least important kind of message that is logged.",
     [](Cursor& at, const Value& value) {
       at.config.daemon.log_level = static_cast<LogLevel>(value.integer);
       return std::string();
     },
     kLogLevels},

    {.section = Section::target,
     .name = "name",
     .type = ValueType::text,
     .example = "\"iqn.2017-01.com.example:disk0\"",
     .description = "The iSCSI name of the target, in lower case: of type iqn., eui. or naa.",
     .set =
         [](Cursor& at, const Value& value) {
           return keep(at.target->name, value.text, check_iscsi_name(value.text));
         },
     .required = true},
    {Section::target, "alias", ValueType::text, "\"p_iscsi_target_0\"", "none",
     "A name for people, which initiators show next to the iSCSI name.",
     [](Cursor& at, const Value& value) {
       return keep(at.target->alias, value.text, check_text(value.text, kTextValueBytesMax));
     }},
    {Section::target, "portals", ValueType::list, "[\"192.168.222.35:3260\", \"[2001:db8::35]:3260\"]",
     "the VIPs of the group, at port 3260",
     "The addresses at which the target is served, numeric, with port 3260 if it is left out; 0.0.0.0 and "
     "[::] stand "
     "for every local address.",
     [](Cursor& at, const Value& value) {
       auto portal = parse_portal(value.text, kIscsiPort);
       if (!portal) return portal.error().to_string();
       at.target->portals.push_back(std::move(*portal));
       return std::string();
     }},
    {Section::target, "group", ValueType::text, "\"drbd0\"", "none: always served by this node",
     "Name of the [[group]] with which the target moves between the nodes.",
     [](Cursor& at, const Value& value) {
       return keep(at.target->group, value.text, check_plain_name(value.text, kGroupNameBytesMax));
     }},
    {Section::target, "initiators", ValueType::list, "[\"iqn.1993-08.org.debian:*\"]", "any name",
     "Names of the initiators that may log in; * stands for any characters and ? for one.",
     [](Cursor& at, const Value& value) {
       auto complaint = check_initiator_pattern(value.text);
       if (complaint.empty()) at.target->initiators.emplace_back(value.text);
       return complaint;
     }},
    {Section::target, "networks", ValueType::list, "[\"192.168.222.0/24\"]", "any address",
     "Networks from which initiators may log in, as ADDRESS/PREFIX.",
     [](Cursor& at, const Value& value) {
       auto network = parse_network(value.text);
       if (!network) return network.error().to_string();
       at.target->networks.push_back(std::move(*network));
       return std::string();
     }},
    {Section::target, "header_digest", ValueType::choice, "\"optional\"", "\"optional\"",
     "CRC32C over headers: never (off), if the initiator wants it (optional), or a condition of the login "
     "(required).",
     [](Cursor& at, const Value& value) {
       at.target->header_digest = static_cast<DigestPolicy>(value.integer);
       return std::string();
     },
     kDigests},
    {Section::target, "data_digest", ValueType::choice, "\"optional\"", "\"optional\"",
     "CRC32C over data: never (off), if the initiator wants it (optional), or a condition of the login "
     "(required).",
     [](Cursor& at, const Value& value) {
       at.target->data_digest = static_cast<DigestPolicy>(value.integer);
       return std::string();
     },
     kDigests},

    {.section = Section::chap,
     .name = "user",
     .type = ValueType::text,
     .example = "\"u\"",
     .description = "The name with which initiators authenticate themselves (CHAP_N).",
     .set =
         [](Cursor& at, const Value& value) {
           return keep(chap_of(at).user, value.text, check_text(value.text, kTextValueBytesMax));
         },
     .required = true},
    {.section = Section::chap,
     .name = "secret_file",
     .type = ValueType::text,
     .example = "\"/etc/itgtd/u.secret\"",
     .description = "File with the secret of that name, 12 to 255 bytes on one line, which is not "
                    "open to every user.",
     .set =
         [](Cursor& at, const Value& value) {
           return keep(chap_of(at).secret_file, value.text, check_absolute_path(value.text));
         },
     .required = true,
     .sensitive = true},
    {Section::chap, "mutual_user", ValueType::text, "\"t\"", "the target does not authenticate itself",
     "The name with which the target authenticates itself to an initiator that asks for it.",
     [](Cursor& at, const Value& value) {
       return keep(chap_of(at).mutual_user, value.text, check_text(value.text, kTextValueBytesMax));
     }},
    {.section = Section::chap,
     .name = "mutual_secret_file",
     .type = ValueType::text,
     .example = "\"/etc/itgtd/t.secret\"",
     .default_value = "none",
     .description = "File with the secret of mutual_user; it must differ from the other one.",
     .set =
         [](Cursor& at, const Value& value) {
           return keep(chap_of(at).mutual_secret_file, value.text, check_absolute_path(value.text));
         },
     .sensitive = true},

    {Section::lun,
     "id",
     ValueType::integer,
     "0",
     "the next free number",
     "The logical unit number.",
     [](Cursor& at, const Value& value) {
       at.lun->id = static_cast<uint16_t>(value.integer);
       return std::string();
     },
     {},
     0,
     scsi::kLunsPerTargetMax - 1},
    {.section = Section::lun,
     .name = "path",
     .type = ValueType::text,
     .example = "\"/dev/drbd0\"",
     .description =
         "The block device or file to serve, or \"ram:SIZE\" for memory, or \"null:SIZE\" for a disk that "
         "forgets what is written. In a group: a device of its DRBD resource, or a disk that every node "
         "sees.",
     .set = [](Cursor& at,
               const Value& value) { return keep(at.lun->path, value.text, check_lun_path(value.text)); },
     .required = true},
    {Section::lun, "serial", ValueType::text, "\"aaaaaaa0\"", "one that is made once and kept in state_dir",
     "Serial number (VPD 80h), up to 36 characters; its hexadecimal digits make the WWID (VPD 83h), so that "
     "it must "
     "differ from those of all other disks that an initiator sees.",
     [](Cursor& at, const Value& value) {
       return keep(at.lun->serial, value.text, check_serial(value.text));
     }},
    {Section::lun, "product", ValueType::text, "\"p_iscsi_lun_0\"", "the last component of the path",
     "Product identification of INQUIRY, up to 16 characters.",
     [](Cursor& at, const Value& value) {
       return keep(at.lun->product, value.text, check_inquiry_text(value.text, kProductBytesMax));
     }},
    {Section::lun, "vendor", ValueType::text, "\"LIO-ORG\"", "\"LIO-ORG\"",
     "Vendor identification of INQUIRY, up to 8 characters; the default is what LIO says, so that a disk "
     "that moves "
     "here stays the same to its initiators.",
     [](Cursor& at, const Value& value) {
       return keep(at.lun->vendor, value.text, check_inquiry_text(value.text, kVendorBytesMax));
     }},
    {Section::lun, "block_size", ValueType::integer, "512", "512",
     "Bytes of a logical block: 512 or 4096. It can't be changed once there is data on the disk.",
     [](Cursor& at, const Value& value) {
       if (value.integer != 512 && value.integer != 4096) {
         return fmt::format("is {}; it is 512 or 4096, as in: block_size = 512", value.integer);
       }
       at.lun->block_size = static_cast<uint32_t>(value.integer);
       return std::string();
     }},
    {Section::lun,
     "physical_block_size",
     ValueType::integer,
     "4096",
     "what the device says",
     "Bytes of a physical block, for the alignment of what initiators write: a power of two, at least "
     "block_size.",
     [](Cursor& at, const Value& value) {
       if ((value.integer & (value.integer - 1)) != 0) {
         return fmt::format("is {}; it is a power of two, as in: physical_block_size = 4096", value.integer);
       }
       at.lun->physical_block_size = static_cast<uint32_t>(value.integer);
       return std::string();
     },
     {},
     512,
     kPhysicalBlockBytesMax},
    {Section::lun, "removable", ValueType::boolean, "false", "false",
     "The disk says that its medium can be removed.",
     [](Cursor& at, const Value& value) { return keep(at.lun->removable, value.boolean); }},
    {Section::lun, "thin", ValueType::choice, "\"auto\"", "\"auto\"",
     "Whether initiators may unmap blocks: if the device can do it (auto), always (on) or never (off).",
     [](Cursor& at, const Value& value) {
       at.lun->thin = static_cast<ThinPolicy>(value.integer);
       return std::string();
     },
     kThin},
    {Section::lun, "read_only", ValueType::boolean, "false", "false", "The disk refuses writes.",
     [](Cursor& at, const Value& value) { return keep(at.lun->read_only, value.boolean); }},
    {Section::lun, "write_cache", ValueType::boolean, "true", "true",
     "The disk has a write cache that initiators flush; with false every write is durable before it is "
     "acknowledged.",
     [](Cursor& at, const Value& value) { return keep(at.lun->write_cache, value.boolean); }},
    {Section::lun,
     "create",
     ValueType::size,
     "\"1G\"",
     "the file must be there",
     "Size of the file that is made, sparse, if there is none; k, M, G and T are powers of 1024.",
     [](Cursor& at, const Value& value) {
       at.lun->create_bytes = value.integer;
       return std::string();
     },
     {},
     1},

    {Section::cluster, "corosync", ValueType::boolean, "true", "true",
     "The nodes find each other by corosync.",
     [](Cursor& at, const Value& value) { return keep(at.config.cluster->corosync, value.boolean); }},

    {Section::cluster, "name", ValueType::text, "\"itgtd\"", "\"itgtd\"",
     "Daemons with the same name on one corosync are one cluster; another name keeps two of them apart.",
     [](Cursor& at, const Value& value) {
       return keep(at.config.cluster->name, value.text, check_plain_name(value.text, kGroupNameBytesMax));
     }},

    {.section = Section::group,
     .name = "name",
     .type = ValueType::text,
     .example = "\"drbd0\"",
     .description = "The name by which targets and itgtctl refer to the group.",
     .set =
         [](Cursor& at, const Value& value) {
           return keep(at.group->name, value.text, check_plain_name(value.text, kGroupNameBytesMax));
         },
     .required = true},
    {Section::group, "drbd", ValueType::text, "\"r0\"", "none: storage = \"shared\" is set instead",
     "The DRBD resource that is promoted on the node that owns the group.",
     [](Cursor& at, const Value& value) {
       return keep(at.group->drbd, value.text, check_plain_name(value.text, kGroupNameBytesMax));
     }},
    {Section::group, "storage", ValueType::choice, "\"shared\"", "none: drbd is set instead",
     "\"shared\" for disks that every node sees.",
     [](Cursor& at, const Value&) { return keep(at.group->shared_storage, true); }, kStorage},
    {.section = Section::group,
     .name = "vips",
     .type = ValueType::list,
     .example = "[\"192.168.222.35/24\", \"192.168.221.35/24@enp0s9\"]",
     .description =
         "The addresses that move with the group, as ADDRESS/PREFIX or ADDRESS/PREFIX@INTERFACE; the "
         "interface is found by route unless it is named.",
     .set =
         [](Cursor& at, const Value& value) {
           auto vip = parse_vip(value.text);
           if (!vip) return vip.error().to_string();
           at.group->vips.push_back(std::move(*vip));
           return std::string();
         },
     .required = true},
    {Section::group, "nodes", ValueType::list, "[\"iscsi-2\", \"iscsi-0\"]", "all nodes of the cluster",
     "The nodes that may own the group, the most preferred one first.",
     [](Cursor& at, const Value& value) {
       auto complaint = check_plain_name(value.text, kTextValueBytesMax);
       if (complaint.empty()) at.group->nodes.emplace_back(value.text);
       return complaint;
     }},
    {Section::group, "failback", ValueType::choice, "\"never\"", "\"never\"",
     "Whether the group moves back to a more preferred node as soon as that can take it (immediate) or stays "
     "where it "
     "is (never).",
     [](Cursor& at, const Value& value) {
       at.group->failback = static_cast<Failback>(value.integer);
       return std::string();
     },
     kFailback},
    {Section::group, "state", ValueType::text, "\"/dev/drbd1\"", "state_dir of every node",
     "A small device of the same resource, on which reservations move with the data.",
     [](Cursor& at, const Value& value) {
       return keep(at.group->state, value.text, check_absolute_path(value.text));
     }},
};

}  // namespace

std::span<const SectionInfo> all_sections() {
  return kSections;
}

const SectionInfo& section_info(Section section) {
  static constexpr SectionInfo kRoot{Section::root, "", Section::root, "the file", false, ""};
  const auto* found = std::find_if(std::begin(kSections), std::end(kSections),
                                   [&](const SectionInfo& info) { return info.section == section; });
  return found == std::end(kSections) ? kRoot : *found;
}

const SectionInfo* find_section(Section parent, string_view name) {
  const auto* found = std::find_if(std::begin(kSections), std::end(kSections), [&](const SectionInfo& info) {
    return info.parent == parent && info.name == name;
  });
  return found == std::end(kSections) ? nullptr : found;
}

std::span<const KeyInfo> all_keys() {
  return kKeys;
}

const KeyInfo* find_key(Section section, string_view name) {
  const auto* found = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const KeyInfo& key) {
    return key.section == section && key.name == name;
  });
  return found == std::end(kKeys) ? nullptr : found;
}

std::string wanted(const KeyInfo& key) {
  switch (key.type) {
    case ValueType::boolean:
      return "true or false";
    case ValueType::integer:
      if (key.max == std::numeric_limits<int64_t>::max()) return "an integer";
      return fmt::format("an integer from {} to {}", key.min, key.max);
    case ValueType::text:
      return "a string";
    case ValueType::choice: {
      std::vector<std::string> words;
      std::vector<string_view> views;
      words.reserve(key.choices.size());
      for (const string_view choice : key.choices) words.push_back(fmt::format("\"{}\"", choice));
      views.assign(words.begin(), words.end());
      return one_of(views);
    }
    case ValueType::size:
      return "a size in a string";
    case ValueType::list:
      return "a list of strings";
  }
  return {};
}

}  // namespace itgtd::config

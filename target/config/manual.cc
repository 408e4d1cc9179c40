#include "target/config/manual.h"

#include <fmt/core.h>

#include "target/config/keys.h"

namespace itgtd::config {
namespace {

/// Text as roff prints it, whatever it begins with.
std::string roff(std::string_view text) {
  std::string out;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) out += "\\&";
    line_begins = c == '\n';
    switch (c) {
      case '\\':
        out += "\\e";
        break;
      case '-':  // a hyphen would not be found by who searches for what he types
        out += "\\-";
        break;
      case '"':
        out += "\\(dq";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string_view type_word(const KeyInfo& key) {
  switch (key.type) {
    case ValueType::boolean:
      return "true or false";
    case ValueType::integer:
      return "integer";
    case ValueType::text:
    case ValueType::choice:
      return "string";
    case ValueType::size:
      return "string with a size";
    case ValueType::list:
      return "list of strings";
  }
  return {};
}

std::string value_words(const KeyInfo& key) {
  if (key.type == ValueType::choice) return wanted(key);
  std::string words(type_word(key));
  if (key.type == ValueType::integer && key.name != "block_size")
    words += fmt::format(", {} to {}", key.min, key.max);
  return words;
}

std::string key_entry(const KeyInfo& key) {
  std::string out = fmt::format(".TP\n\\fB{}\\fR (\\fI{}\\fR)\n{}\n", roff(key.name), roff(value_words(key)),
                                roff(key.description));
  const std::string fallback =
      key.required ? std::string("Required.") : fmt::format("Default: {}.", roff(key.default_value));
  out += fmt::format("{}\n.br\nExample: {} = {}\n", fallback, roff(key.name), roff(key.example));
  return out;
}

constexpr std::string_view kHead =
    R"(.\" Made by itgt-config-doc from the table of keys in target/config/keys.cc. Do not edit.
.TH ITGTD.TOML 5 "" itgtd "File formats"
.nh
.ad l
.SH NAME
itgtd.toml \- configuration of the iSCSI target server itgtd
.SH DESCRIPTION
The file is TOML.
It is read when the daemon starts and again when it gets SIGHUP.
\fBitgtd \-\-config\fR \fIFILE\fR \fB\-\-check\fR
prints every error as
.IR file : line :\ message
and changes nothing.
A key that is not in this page is an error.
.PP
Every target stands below a header [[target]] of its own, and what belongs to it below headers that begin with its
word: [[target.lun]], [target.chap].
)";

constexpr std::string_view kTail = R"(.SH IDENTITY OF DISKS
Initiators recognise a disk by its WWID, which is 36001405 and then the hexadecimal digits that are found in the serial,
in lower case, up to 25 of them and filled with zeros.
It is the same as with LIO, so that a disk keeps its name when it moves here with its serial.
A disk without a serial gets one that is made once and kept in the file
.I serials
in state_dir, by the path that the configuration names.
A disk of a group has the same one on every node: there it is written into the configuration.
.SH RELOADING
On SIGHUP the file is read again.
If there is an error in it, every error is logged and nothing changes.
Otherwise what differs takes effect and sessions that it does not concern go on:
.IP \(bu 2
A target that is not there any more ends its sessions; a new one can be logged in to at once.
.IP \(bu 2
Alias, credentials and digests hold for new logins.
.IP \(bu 2
Where initiators, networks or portals get fewer, the sessions that would not be let in any more are ended.
.IP \(bu 2
LUNs come and go under sessions, which are told.
Of a LUN that stays, only write_cache changes in place; any other change takes it out and puts it in again.
.IP \(bu 2
.BR workers ,
.BR polling ,
.BR control_socket ,
.B state_dir
and [cluster] take effect with the next start, and the log says so.
.SH SECRETS
A secret stands alone in a file of its own, so that the configuration can be shown to anybody.
The file must not be open to every user of the machine, and the two secrets of a target must differ.
Secrets are never logged.
.SH FILES
.I /etc/itgtd/itgtd.toml
.SH EXAMPLE
.nf
)";

}  // namespace

std::string manual_page(std::string_view example) {
  std::string out(kHead);
  for (const SectionInfo& section : all_sections()) {
    out += fmt::format(".SH \"SECTION {}\"\n{}\n", roff(section.header), roff(section.description));
    for (const KeyInfo& key : all_keys()) {
      if (key.section == section.section) out += key_entry(key);
    }
  }
  out += kTail;
  out += roff(example);
  out += ".fi\n";
  return out;
}

}  // namespace itgtd::config

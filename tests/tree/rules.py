"""What the checks on the tree enforce, as tables."""

LINES_OF_FILE_MAX = 800
LINES_OF_FUNCTION_MAX = 70

CXX_FOLDERS = ("base", "net", "scsi", "target", "ha", "bench", "tests", "tools")

# Who may include whom: the longest prefix that matches the including file, and the prefixes it may include.
# base is allowed everywhere.
LAYERS = {
    "base/": (),
    "net/": ("net/",),
    "scsi/": ("scsi/",),
    "target/iscsi/": ("target/iscsi/", "scsi/"),
    "target/backend/": ("target/backend/", "net/", "scsi/"),
    "target/config/": ("target/config/", "scsi/"),
    "target/control/": ("target/control/", "target/config/"),
    "target/": ("target/", "ha/", "net/", "scsi/", "version.h"),
    "ha/core/": ("ha/core/",),
    # The control thread's loop is all that the cluster uses of the target.
    "ha/adapters/": ("ha/adapters/", "ha/core/", "target/control/"),
    "ha/": ("ha/", "target/control/", "version.h"),
    "bench/": ("bench/", "net/", "scsi/", "target/iscsi/", "version.h"),
    "tests/": ("",),
    "tools/": ("tools/", "ha/adapters/", "ha/core/", "target/config/", "target/control/", "version.h"),
}

# Each third-party header has one home. Tests may include anything.
THIRD_PARTY = (
    # header, where it may be included
    (r"liburing(\.h|/)", ("net/",)),
    (r"boost/", ("target/control/", "target/daemon", "ha/runtime", "ha/adapters/")),
    (r"toml\+\+/|toml\.hpp", ("target/config/",)),
    (r"CLI/", ("target/main.cc", "bench/main.cc", "tools/")),
    (r"openssl/", ("base/", "target/iscsi/chap")),
    (r"fmt/", ("base/", "net/", "target/", "ha/", "bench/", "tools/")),
    (r"nlohmann/", ("target/control/", "target/daemon", "ha/runtime", "ha/status", "ha/history", "ha/adapters/", "bench/",
                     "tools/")),
    (r"systemd/", ("target/main.cc", "target/daemon", "target/listener_store", "target/control/")),
    (r"isa-l", ("base/",)),
    (r"benchmark/", ("bench/",)),
    (r"corosync/|netlink/|nftables/", ("ha/adapters/",)),
    (r"gtest/|gmock/|iscsi/", ()),
)
# fmt is allowed in target/, but not in the protocol core.
THIRD_PARTY_DENIED = ((r"fmt/", ("target/iscsi/",)),)

# Pure cores have no system calls, threads or clocks: these headers stay out of them.
PURE = ("scsi/", "target/iscsi/", "ha/core/")
IMPURE_HEADERS = r"sys/|netinet/|arpa/|linux/|unistd\.h|fcntl\.h|poll\.h|thread$|mutex$|condition_variable$|future$|random$|ctime$|fstream$|iostream$"

# Names, the folders they are banned in ("" is everywhere), and what to use in their place.
BANNED = (
    (r"\b(?:std::)?strto(?:l|ul|ll|ull|d|imax|umax)\s*\(", ("",), "parse_u64 and its siblings in base/parse.h"),
    (r"\bstd::sto(?:i|l|ul|ll|ull|d|f)\s*\(|\bstoi\s*\(", ("",), "parse_u64 in base/parse.h"),
    (r"\bato(?:i|l|ll|f)\s*\(", ("",), "parse_u64 in base/parse.h"),
    (r"\b(?:u|nano)?sleep\s*\(|\bsleep_(?:for|until)\s*\(", ("",), "a timer (net/timers.h) or a deadline"),
    (r"\bs?rand\s*\(", ("",), "random bytes passed in by the caller"),
    (r"\bstr(?:n?cpy|n?cat)\s*\(", ("",), "std::string_view, or store() of base/bytes.h"),
    (r"\bv?sn?printf\s*\(", ("",), "fmt::format_to"),
    (r"\breinterpret_cast\b", ("",), "view, load, store, as_text, as_bytes of base/bytes.h"),
    (r"\bconst_cast\b", ("",), "a non-const owner"),
    (r"\bgoto\b", ("",), "a function with early return"),
    (
        r"\bstd::function\b",
        ("net/", "scsi/", "target/iscsi/", "target/backend/", "target/worker", "target/connection"),
        "a function pointer, a queue, or a template parameter",
    ),
    (r"\bstd::regex\b", ("",), "a hand-written match"),
    (r"\bvolatile\b", ("",), "std::atomic"),
)
# Where a banned name has its home.
BANNED_HOMES = {
    r"\breinterpret_cast\b": ("base/bytes.h",),
    r"\bstd::function\b": (),
}

# Written in pieces, so that this file does not find itself.
LEFTOVERS = r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK|WI" r"P)\b"
MACHINE_PATHS = r"(?<![\w.])/(?:wo" r"rk|ro" r"ot|ho" r"me|tmp/(?:b-|wt))(?:/|\b)"

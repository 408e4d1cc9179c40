#include "target/lu_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/descriptor.h"

namespace itgtd::target {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

Error failed(std::string_view verb, const std::string& path) {
  return {errno, fmt::format("cannot {} \"{}\"", verb, path)};
}

Result<void> write_all(int fd, ConstBytes bytes, uint64_t offset_bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write", path);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset_bytes += static_cast<uint64_t>(written);
  }
  return {};
}

/// Up to `bytes` bytes; fewer at the end of the file.
Result<LuStore::Value> read_some(int fd, size_t bytes, uint64_t offset_bytes, const std::string& path) {
  LuStore::Value value(bytes);
  size_t size = 0;
  while (size < bytes) {
    const ssize_t got =
        ::pread(fd, value.data() + size, bytes - size, static_cast<off_t>(offset_bytes + size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  value.resize(size);
  return value;
}

/// Makes the names in `path` durable.
Result<void> sync_directory(const std::string& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok() || ::fsync(fd.get()) != 0) return failed("flush", path);
  return {};
}

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), kDirectoryMode) == 0) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    return sync_directory(parent.empty() ? "." : parent);
  }
  if (errno != EEXIST) return failed("make directory", path);
  return {};
}

bool is_name(std::string_view name) {
  const auto legal = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); };
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, legal);
}

Error bad_name(std::string_view name) {
  return {EINVAL, fmt::format("\"{}\" can't name what is kept of a logical unit", name)};
}

}  // namespace

std::string stored_name(const std::array<uint8_t, 16>& naa) {
  return fmt::format("{:02x}", fmt::join(naa, ""));
}

LuStore::~LuStore() = default;

FileLuStore::FileLuStore(std::string directory) : directory_(std::move(directory)) {
  while (directory_.size() > 1 && directory_.ends_with('/')) directory_.pop_back();
  units_ = directory_ + "/units";
}

std::string FileLuStore::path_of(std::string_view name) const {
  return fmt::format("{}/{}.state", units_, name);
}

Result<std::optional<Slot>> FileLuStore::read(const std::string& path) const {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.ok() && errno == ENOENT) return std::optional<Slot>{};
  if (!fd.ok()) return failed("open", path);
  // A daemon that was killed may have left what only the page cache has. Once it has been read it is relied
  // upon: not even a power failure may take it back.
  if (::fdatasync(fd.get()) != 0) return failed("flush", path);
  if (auto synced = sync_directory(units_); !synced) return synced.error();
  std::array<Value, kSlotCount> slots;
  for (size_t i = 0; i < slots.size(); ++i) {
    const uint64_t offset_bytes = i * kSlotStrideBytes;
    auto header = read_some(fd.get(), kSlotHeaderBytes, offset_bytes, path);
    if (!header) return header.error();
    auto slot = read_some(fd.get(), slot_bytes(*header), offset_bytes, path);
    if (!slot) return slot.error();
    slots[i] = std::move(*slot);
  }
  // create() gives a file its name with a whole slot in it: without one it was damaged.
  auto newest = newest_slot({slots[0], slots[1]});
  if (!newest) {
    return Error{0, fmt::format("\"{}\" can't be trusted: {}; restore it, or remove it to start without the "
                                "reservations and settings in it",
                                path, newest.error().message)};
  }
  return std::optional(std::move(*newest));
}

Result<std::optional<LuStore::Value>> FileLuStore::load(std::string_view name) {
  if (!is_name(name)) return bad_name(name);
  auto slot = read(path_of(name));
  if (!slot) return slot.error();
  std::optional<Value> value;
  if (*slot) value = std::exchange((*slot)->payload, {});
  newest_.insert_or_assign(std::string(name), std::move(*slot));
  return value;
}

Result<std::vector<std::string>> FileLuStore::names() const {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator files(units_, error);
  if (error == std::errc::no_such_file_or_directory) return names;
  for (; !error && files != std::filesystem::directory_iterator(); files.increment(error)) {
    const std::filesystem::path& path = files->path();
    if (path.extension() == ".state" && is_name(path.stem().string())) names.push_back(path.stem().string());
  }
  if (error) return Error{error.value(), fmt::format("cannot read directory \"{}\"", units_)};
  std::ranges::sort(names);
  return names;
}

void FileLuStore::save(std::string_view name, ConstBytes bytes, SaveDone done) {
  done(write(name, bytes));
}

Result<void> FileLuStore::write(std::string_view name, ConstBytes bytes) {
  if (!is_name(name)) return bad_name(name);
  const std::string path = path_of(name);
  if (bytes.size() > kSlotPayloadBytesMax) {
    return Error{EFBIG, fmt::format("cannot write \"{}\"", path)};
  }
  if (!newest_.contains(name)) {
    // Never over a file that can't be trusted.
    if (const auto loaded = load(name); !loaded) return loaded.error();
  }
  std::optional<Slot>& newest = newest_.find(name)->second;
  const SlotWrite next = next_slot_write(newest ? &*newest : nullptr, bytes);
  if (newest) {
    const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd.ok()) return failed("open", path);
    if (auto written = write_all(fd.get(), next.bytes, next.offset_bytes, path); !written) return written;
    if (::fdatasync(fd.get()) != 0) return failed("flush", path);
  } else if (auto created = create(path, next); !created) {
    return created;
  }
  newest = Slot{next.index, next.generation, {}};
  return {};
}

/// Under another name first: a file with the right one has always a whole slot, whenever a crash comes.
Result<void> FileLuStore::create(const std::string& path, const SlotWrite& first) const {
  if (auto made = make_directory(directory_); !made) return made;
  if (auto made = make_directory(units_); !made) return made;
  const std::string draft = path + ".new";
  const Descriptor fd(::open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kFileMode));
  if (!fd.ok()) return failed("make", draft);
  if (auto written = write_all(fd.get(), first.bytes, first.offset_bytes, draft); !written) return written;
  if (::fsync(fd.get()) != 0) return failed("flush", draft);
  if (::rename(draft.c_str(), path.c_str()) != 0) return failed("rename to", path);
  return sync_directory(units_);
}

}  // namespace itgtd::target

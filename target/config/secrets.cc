#include "target/config/secrets.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <utility>

#include "target/config/text.h"

namespace itgtd::config {
namespace {

class File {
 public:
  // Not blocking: the operator may have named a FIFO.
  explicit File(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

/// Up to the longest secret, a newline of two bytes, and one more that shows that there is too much.
Result<std::string> read_start(int fd) {
  std::array<char, kSecretBytesMax + 3> buffer;
  size_t bytes = 0;
  while (bytes < buffer.size()) {
    const ssize_t count = read(fd, buffer.data() + bytes, buffer.size() - bytes);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Error{errno, "can't be read"};
    if (count == 0) break;
    bytes += static_cast<size_t>(count);
  }
  return std::string(buffer.data(), bytes);
}

void read_into(std::string& secret, const std::string& path, std::string_view key, const Place& place,
               Problems& problems) {
  if (path.empty()) return;
  auto read = read_secret(path);
  if (read) {
    secret = std::move(*read);
  } else {
    problems.add(place.line_of(key), fmt::format("{} {} {}", key, in_quotes(path), read.error().to_string()));
  }
}

}  // namespace

Result<std::string> read_secret(const std::string& path) {
  const File file(path);
  if (file.fd() < 0) return Error{errno, "can't be opened"};
  struct stat status {};
  if (fstat(file.fd(), &status) != 0) return Error{errno, "can't be examined"};
  if (!S_ISREG(status.st_mode)) return Error{0, "is not a file"};
  if ((status.st_mode & S_IRWXO) != 0) {
    return Error{0, fmt::format("is open to every user of this machine (mode {:04o}); run: chmod 600 {}",
                                status.st_mode & 07777, path)};
  }
  auto secret = read_start(file.fd());
  if (!secret) return secret;
  if (secret->ends_with('\n')) secret->pop_back();
  if (secret->ends_with('\r')) secret->pop_back();
  if (secret->find('\n') != std::string::npos)
    return Error{0, "has more than one line; a secret is one line"};
  if (secret->size() > kSecretBytesMax) {
    return Error{0, fmt::format("is too long; a secret has at most {} bytes", kSecretBytesMax)};
  }
  // RFC 7143 §9.2.1: without IPsec, secrets of less than 96 bits MUST NOT be used.
  if (secret->size() < kSecretBytesMin) {
    return Error{
        0,
        fmt::format("holds {} bytes; a CHAP secret has at least {} (RFC 7143 §9.2.1), as from: openssl rand "
                    "-hex 8",
                    secret->size(), kSecretBytesMin)};
  }
  return secret;
}

void read_secrets(Config& config, Problems& problems) {
  for (TargetConfig& target : config.targets) {
    if (!target.chap) continue;
    ChapConfig& chap = *target.chap;
    read_into(chap.secret, chap.secret_file, "secret_file", chap.place, problems);
    read_into(chap.mutual_secret, chap.mutual_secret_file, "mutual_secret_file", chap.place, problems);
  }
}

}  // namespace itgtd::config

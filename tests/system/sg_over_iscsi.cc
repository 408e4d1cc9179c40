// A library to preload under sg3-utils and sdparm: a device name that begins with iscsi:// is a logical unit
// that libiscsi reaches, so that these tools decode what the daemon says with no SCSI host in the kernel.
//
// What they do with a device is open(2), ioctl(SG_IO) with version 3 of its header, and close(2).

#include <dlfcn.h>
#include <fcntl.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <scsi/sg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string_view>

namespace {

constexpr const char* kName = "iqn.1993-08.org.debian:01:sg-over-iscsi";
constexpr int kTimeoutS = 20;

struct Device {
  iscsi_context* context;
  int lun;
};

std::map<int, Device>& devices() {
  static std::map<int, Device> open;
  return open;
}

template <typename Function>
Function next(const char* name) {
  return std::bit_cast<Function>(dlsym(RTLD_NEXT, name));
}

/// A descriptor that stands for the logical unit, or -1.
int connect(const char* address) {
  iscsi_context* context = iscsi_create_context(kName);
  iscsi_url* url = iscsi_parse_full_url(context, address);
  if (url != nullptr) {
    iscsi_set_targetname(context, static_cast<const char*>(url->target));
    iscsi_set_session_type(context, ISCSI_SESSION_NORMAL);
    iscsi_set_timeout(context, kTimeoutS);
    if (iscsi_full_connect_sync(context, static_cast<const char*>(url->portal), url->lun) == 0) {
      const int descriptor = next<int (*)(const char*, int)>("open")("/dev/null", O_RDWR | O_CLOEXEC);
      devices()[descriptor] = {context, url->lun};
      iscsi_destroy_url(url);
      return descriptor;
    }
  }
  std::fprintf(stderr, "%s: %s\n", address, iscsi_get_error(context));
  iscsi_destroy_context(context);
  errno = ENODEV;
  return -1;
}

/// RFC 7143 §11.4.7.2: a length of two bytes stands before the sense data.
void take_sense(const scsi_task& task, sg_io_hdr& header) {
  if (task.datain.data == nullptr || task.datain.size <= 2 || header.sbp == nullptr) return;
  const auto bytes = std::min<size_t>(header.mx_sb_len, static_cast<size_t>(task.datain.size) - 2);
  std::memcpy(header.sbp, task.datain.data + 2, bytes);
  header.sb_len_wr = static_cast<uint8_t>(bytes);
}

int execute(const Device& device, sg_io_hdr& header) {
  const bool in = header.dxfer_direction == SG_DXFER_FROM_DEV;
  const bool out = header.dxfer_direction == SG_DXFER_TO_DEV;
  scsi_task* task = scsi_create_task(header.cmd_len, header.cmdp,
                                     in    ? SCSI_XFER_READ
                                     : out ? SCSI_XFER_WRITE
                                           : SCSI_XFER_NONE,
                                     in || out ? static_cast<int>(header.dxfer_len) : 0);
  iscsi_data data{header.dxfer_len, static_cast<unsigned char*>(header.dxferp)};
  if (iscsi_scsi_command_sync(device.context, device.lun, task, out ? &data : nullptr) == nullptr) {
    errno = EIO;
    return -1;
  }
  header.status = static_cast<uint8_t>(task->status);
  header.masked_status = static_cast<uint8_t>(task->status >> 1);
  header.host_status = header.driver_status = 0;
  header.sb_len_wr = 0;
  header.resid = 0;
  header.duration = 0;
  if (task->status == SCSI_STATUS_CHECK_CONDITION) {
    take_sense(*task, header);
  } else if (in) {
    const auto bytes = std::min(header.dxfer_len, static_cast<unsigned>(std::max(task->datain.size, 0)));
    if (bytes != 0) std::memcpy(header.dxferp, task->datain.data, bytes);
    header.resid = static_cast<int>(header.dxfer_len - bytes);
  }
  header.info = header.status == 0 ? SG_INFO_OK : SG_INFO_CHECK;
  scsi_free_scsi_task(task);
  return 0;
}

int open_any(const char* function, const char* path, int flags, unsigned mode) {
  if (std::string_view(path).starts_with("iscsi://")) return connect(path);
  return next<int (*)(const char*, int, ...)>(function)(path, flags, mode);
}

unsigned mode_of(int flags, va_list arguments) {
  return (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_any("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = mode_of(flags, arguments);
  va_end(arguments);
  return open_any("open64", path, flags, mode);
}

/// What open(2) without a mode becomes with _FORTIFY_SOURCE.
int __open_2(const char* path, int flags) {  // NOLINT(bugprone-reserved-identifier): glibc's name
  return open_any("open", path, flags, 0);
}

int __open64_2(const char* path, int flags) {  // NOLINT(bugprone-reserved-identifier): glibc's name
  return open_any("open64", path, flags, 0);
}

int ioctl(int descriptor, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const auto device = devices().find(descriptor);
  if (device == devices().end())
    return next<int (*)(int, unsigned long, ...)>("ioctl")(descriptor, request, argument);
  if (request == SG_IO) return execute(device->second, *static_cast<sg_io_hdr*>(argument));
  errno = ENOTTY;
  return -1;
}

int close(int descriptor) {
  const auto device = devices().find(descriptor);
  if (device != devices().end()) {
    iscsi_context* context = device->second.context;
    devices().erase(device);
    iscsi_logout_sync(context);
    iscsi_destroy_context(context);
  }
  return next<int (*)(int)>("close")(descriptor);
}

}  // extern "C"

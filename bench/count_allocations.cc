// A library to preload: counts what a program takes from the heap, in a file that can be read while it runs.
//
//   ITGTD_ALLOCATION_COUNTERS=FILE LD_PRELOAD=libcount-allocations.so itgtd ...
//
// FILE is made with two 64-bit numbers in the machine's order: allocations, bytes asked for. Every family
// that allocates is counted: malloc, calloc, realloc, memalign and its kin, and with them operator new. glibc
// only.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

extern "C" {
// glibc's own names of its functions: no search for them, which would itself allocate.
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace {

struct Counters {
  std::atomic<uint64_t> allocations;
  std::atomic<uint64_t> bytes;
};

// An interposed malloc has nowhere else to keep its state. Until the file is mapped, counts go to
// `beforehand`.
constinit Counters beforehand{};
constinit std::atomic<Counters*> counters{&beforehand};

void count(size_t bytes) {
  Counters& now = *counters.load(std::memory_order_relaxed);
  now.allocations.fetch_add(1, std::memory_order_relaxed);
  now.bytes.fetch_add(bytes, std::memory_order_relaxed);
}

__attribute__((constructor)) void map_counters() {
  const char* path = std::getenv("ITGTD_ALLOCATION_COUNTERS");
  if (path == nullptr) return;
  const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (ftruncate(fd, sizeof(Counters)) == 0) {
    void* mapped = mmap(nullptr, sizeof(Counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) counters.store(static_cast<Counters*>(mapped));
  }
  close(fd);
}

}  // namespace

extern "C" {

void* malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}

void* calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}

void* realloc(void* old, size_t size) {
  count(size);
  return __libc_realloc(old, size);
}

void* memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** out, size_t alignment, size_t size) {
  count(size);
  if (alignment % sizeof(void*) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0) return EINVAL;
  void* made = __libc_memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *out = made;
  return 0;
}

}  // extern "C"

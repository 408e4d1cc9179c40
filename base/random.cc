#include "base/random.h"

#include <openssl/rand.h>

namespace itgtd {

void random_bytes(Bytes to) {
  ITGTD_ASSERT(to.size() <= INT32_MAX);
  const int filled = RAND_bytes(view<unsigned char>(to), static_cast<int>(to.size()));
  ITGTD_ASSERT(filled == 1);
}

}  // namespace itgtd

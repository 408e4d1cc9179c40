#include "base/digest.h"

#include <openssl/evp.h>

#include <array>

#include "base/bytes.h"

namespace itgtd {

uint64_t digest64(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int bytes = 0;
  const int done = EVP_Digest(text.data(), text.size(), digest.data(), &bytes, EVP_sha256(), nullptr);
  ITGTD_ASSERT(done == 1 && bytes >= sizeof(uint64_t));
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) value = value << 8 | digest.at(i);
  return value;
}

}  // namespace itgtd

// itgt-config-doc EXAMPLE: prints docs/itgtd.toml.5, with that file as its example.
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>

#include "target/config/manual.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: itgt-config-doc docs/example.toml > docs/itgtd.toml.5\n", stderr);
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "itgt-config-doc: can't read %s\n", argv[1]);
    return 1;
  }
  std::ostringstream example;
  example << file.rdbuf();
  const std::string page = itgtd::config::manual_page(example.str());
  return std::fwrite(page.data(), 1, page.size(), stdout) == page.size() && std::fflush(stdout) == 0 ? 0 : 1;
}

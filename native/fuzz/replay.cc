// replay_… FOLDER: runs the body on every file of a committed corpus.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "body.h"

int main(int argc, char** argv) {
  int inputs = 0;
  for (int i = 1; i < argc; i++) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<unsigned char> data{std::istreambuf_iterator<char>(file), {}};
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);
      kvarn::fuzz::body(data);
      inputs++;
    }
  }
  return inputs == 0 ? 1 : 0;
}

#include "base/slab.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace itgtd {
namespace {

TEST(SlabTest, HandsOutAllAndNoMore) {
  Slab<int> slab(3);
  int* a = slab.acquire();
  int* b = slab.acquire();
  int* c = slab.acquire();
  ASSERT_NE(c, nullptr);
  EXPECT_EQ(slab.acquire(), nullptr);
  EXPECT_EQ(slab.available(), 0U);
  EXPECT_EQ(slab.used(), 3U);
  slab.release(*b);
  EXPECT_EQ(slab.acquire(), b) << "the warm one first";
  slab.release(*a);
  slab.release(*c);
  EXPECT_EQ(slab.used(), 1U);
}

TEST(SlabTest, ALateNameDoesNotFindTheNextTenant) {
  Slab<int> slab(1);
  int* object = slab.acquire();
  const SlotId first = slab.id_of(*object);
  EXPECT_EQ(slab.find(first), object);
  slab.release(*object);
  EXPECT_EQ(slab.find(first), nullptr);
  object = slab.acquire();
  EXPECT_EQ(slab.find(first), nullptr);
  EXPECT_EQ(slab.find(slab.id_of(*object)), object);
}

TEST(SlabTest, NamesFromOutsideAreOnlyNames) {
  Slab<int> slab(2);
  static_cast<void>(slab.acquire());
  EXPECT_EQ(slab.find({2, 1}), nullptr);
  EXPECT_EQ(slab.find({UINT32_MAX, 1}), nullptr);
  EXPECT_EQ(slab.find({0, 0}), nullptr);
  EXPECT_EQ(slab.find({1, 1}), nullptr) << "never handed out";
}

TEST(SlabTest, AgreesWithAModel) {
  Slab<int> slab(50);
  std::map<int*, SlotId> out;
  std::vector<SlotId> gone;
  std::mt19937 random(4);
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      int* object = slab.acquire();
      ASSERT_EQ(object == nullptr, out.size() == 50);
      if (object != nullptr) {
        ASSERT_TRUE(out.emplace(object, slab.id_of(*object)).second);
      }
    } else if (!out.empty()) {
      auto it = out.begin();
      std::advance(it, random() % out.size());
      gone.push_back(it->second);
      slab.release(*it->first);
      out.erase(it);
    }
    ASSERT_EQ(slab.used(), out.size());
    if (!gone.empty()) {
      ASSERT_EQ(slab.find(gone[random() % gone.size()]), nullptr);
    }
  }
  for (const auto& [object, id] : out) EXPECT_EQ(slab.find(id), object);
}

TEST(SlabDeathTest, MisuseIsABug) {
  Slab<int> slab(2);
  int* object = slab.acquire();
  slab.release(*object);
  EXPECT_DEATH(slab.release(*object), "assertion failed");
  int foreign = 0;
  EXPECT_DEATH(slab.release(foreign), "assertion failed");
}

}  // namespace
}  // namespace itgtd

#include "base/intrusive_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <list>
#include <random>

namespace itgtd {
namespace {

struct OneTag;
struct TwoTag;
struct Item : ListLink<OneTag>, ListLink<TwoTag> {
  int value = 0;
};
using One = IntrusiveList<Item, OneTag>;
using Two = IntrusiveList<Item, TwoTag>;

TEST(IntrusiveListTest, EmptyHasNothing) {
  One list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.size(), 0U);
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.pop_front(), nullptr);
}

TEST(IntrusiveListTest, OneElementInTwoListsByTwoTags) {
  Item item;
  One one;
  Two two;
  one.push_back(item);
  two.push_back(item);
  EXPECT_EQ(one.pop_front(), &item);
  EXPECT_FALSE(static_cast<ListLink<OneTag>&>(item).linked());
  EXPECT_TRUE(static_cast<ListLink<TwoTag>&>(item).linked());
  EXPECT_EQ(two.front(), &item);
  two.remove(item);
}

TEST(IntrusiveListTest, AgreesWithAModel) {
  std::array<Item, 40> items;
  std::list<Item*> model;
  One list;
  std::mt19937 random(9);
  for (int step = 0; step < 20'000; ++step) {
    Item& item = items[random() % items.size()];
    const auto place = std::find(model.begin(), model.end(), &item);
    if (place != model.end()) {
      ASSERT_TRUE(static_cast<ListLink<OneTag>&>(item).linked());
      list.remove(item);
      model.erase(place);
    } else if (random() % 2 == 0) {
      list.push_back(item);
      model.push_back(&item);
    } else {
      list.push_front(item);
      model.push_front(&item);
    }
    ASSERT_EQ(list.size(), model.size());
    Item* at = list.front();
    for (Item* wanted : model) {
      ASSERT_EQ(at, wanted);
      at = list.next(*at);
    }
    ASSERT_EQ(at, nullptr);
  }
  while (list.pop_front() != nullptr) {
  }
}

TEST(IntrusiveListDeathTest, MisuseIsABug) {
  EXPECT_DEATH(
      {
        Item item;
        One one;
        One other;
        one.push_back(item);
        other.push_back(item);
      },
      "assertion failed");
  EXPECT_DEATH(
      {
        Item item;
        One list;
        list.remove(item);
      },
      "assertion failed");
  EXPECT_DEATH(
      {
        Item item;
        One list;
        list.push_back(item);
      },
      "assertion failed");
}

}  // namespace
}  // namespace itgtd

// A doubly linked list whose links live in its elements: no allocation, removal from the middle in O(1).
//
//   struct ReadyTag;
//   struct Task : ListLink<ReadyTag> { ... };
//   IntrusiveList<Task, ReadyTag> ready;
//
// An element is in at most one list per tag. The list owns nothing; it must outlive no element that is in it,
// and is empty when it is destroyed.
#pragma once

#include <cstddef>

#include "base/assert.h"

namespace itgtd {

template <typename Tag>
class ListLink {
 public:
  ListLink() = default;
  ListLink(const ListLink&) = delete;
  ListLink& operator=(const ListLink&) = delete;
  /// True exactly when the element is in a list of this tag.
  [[nodiscard]] bool linked() const { return next_ != nullptr; }

 private:
  template <typename, typename>
  friend class IntrusiveList;
  ListLink* next_ = nullptr;
  ListLink* previous_ = nullptr;
};

template <typename T, typename Tag>
class IntrusiveList {
  using Link = ListLink<Tag>;

 public:
  IntrusiveList() { clear_head(); }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;
  ~IntrusiveList() { ITGTD_ASSERT(empty()); }

  [[nodiscard]] bool empty() const { return head_.next_ == &head_; }
  [[nodiscard]] size_t size() const { return size_; }

  void push_back(T& element) { insert_before(&head_, element); }
  void push_front(T& element) { insert_before(head_.next_, element); }

  /// The first element, or null.
  [[nodiscard]] T* front() { return empty() ? nullptr : static_cast<T*>(head_.next_); }
  /// The element behind `element`, or null. To walk and remove, take the next one first.
  [[nodiscard]] T* next(T& element) {
    Link* link = static_cast<Link&>(element).next_;
    return link == &head_ ? nullptr : static_cast<T*>(link);
  }
  /// Removes and returns the first element, or null.
  T* pop_front() {
    T* element = front();
    if (element != nullptr) remove(*element);
    return element;
  }
  void remove(T& element) {
    Link& link = element;
    ITGTD_ASSERT(link.linked());
    link.previous_->next_ = link.next_;
    link.next_->previous_ = link.previous_;
    link.next_ = nullptr;
    link.previous_ = nullptr;
    --size_;
  }

 private:
  void clear_head() { head_.next_ = head_.previous_ = &head_; }
  void insert_before(Link* position, T& element) {
    Link& link = element;
    ITGTD_ASSERT(!link.linked());
    link.next_ = position;
    link.previous_ = position->previous_;
    position->previous_->next_ = &link;
    position->previous_ = &link;
    ++size_;
  }
  Link head_;
  size_t size_ = 0;
};

}  // namespace itgtd

#include "scsi/copy_results.h"

#include <algorithm>

namespace itgtd::scsi {

CopyResults::Begun CopyResults::begin(const CopyName& name, CopyCommand command) {
  Begun begun;
  if (const CopyResult* known = find(name)) {
    if (known->running) {
      // SPC-4, third-party copy: a list identifier names one copy at a time.
      begun.refused = check_condition(sense::illegal_request(Asc::operation_in_progress));
      return begun;
    }
    forget(known->ticket);
  }
  if (results_.size() == kCopiesMax) {
    const auto over = std::ranges::find(results_, false, &CopyResult::running);
    if (over == results_.end()) {
      // SAM-5 §5.3.1: to be tried again when another one is over.
      begun.refused = Done{Status::task_set_full, {}, 0};
      return begun;
    }
    results_.erase(over);
  }
  CopyResult result;
  result.name = name;
  result.command = command;
  result.ticket = ++last_ticket_;
  begun.ticket = result.ticket;
  results_.push_back(result);
  return begun;
}

CopyResult* CopyResults::find(const CopyName& name) {
  const auto at = std::ranges::find(results_, name, &CopyResult::name);
  return at == results_.end() ? nullptr : &*at;
}

CopyResult* CopyResults::find(uint64_t ticket) {
  const auto at = std::ranges::find(results_, ticket, &CopyResult::ticket);
  return at == results_.end() ? nullptr : &*at;
}

void CopyResults::end(uint64_t ticket, const Done& done) {
  CopyResult* result = find(ticket);
  if (result == nullptr) return;
  result->running = false;
  result->done = done;
}

void CopyResults::forget(uint64_t ticket) {
  std::erase_if(results_, [&](const CopyResult& result) { return result.ticket == ticket; });
}

}  // namespace itgtd::scsi

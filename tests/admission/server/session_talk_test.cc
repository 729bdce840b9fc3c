// What a Session teaches of prompts.
#include "admission/server/session_talk.h"

#include "gtest/gtest.h"
#include "tests/admission/server/parts.h"

namespace vramgate {
namespace {

class QuietStream final : public SessionStream {
 public:
  void Write(const SessionMessage&) override {}
  void Finish(const SessionFinish&) override {}
};

// One Session from its admit to its end.
void Talk(Parts& parts, const v1::Demand& demand, int64_t reported, bool at_end) {
  QuietStream stream;
  const auto session = std::make_shared<Session>(*parts.controller, &stream, Session::Shape::kStream);
  SessionTalk talk(*parts.controller, *parts.converter, {}, session);
  v1::SessionRequest message;
  message.mutable_admit()->set_model("m");
  *message.mutable_admit()->mutable_demand() = demand;
  talk.OnMessage(message, kNever);
  session->WriteDone();
  if (!at_end) {
    message.mutable_usage()->set_prompt_tokens(reported);
    talk.OnMessage(message, kNever);
    message.mutable_usage()->set_output_tokens(3);
    talk.OnMessage(message, kNever);
  }
  message.Clear();
  message.mutable_end()->mutable_usage()->set_prompt_tokens(reported);
  talk.OnMessage(message, kNever);
  session->StreamClosed(/*cancelled=*/false);
}

int64_t Learned(const Parts& parts) {
  int64_t count = 0;
  for (const auto& counts : parts.converter->PromptRatios(ModelId{0}).ratios) {
    for (const int64_t bucket : counts.counts) count += bucket;
  }
  return count;
}

TEST(SessionTalkTest, APromptThatWasBoundIsLearnedOnce) {
  for (const bool at_end : {false, true}) {
    Parts parts;
    v1::Demand demand;
    demand.set_prompt_bytes(400);
    demand.set_max_output_tokens(5);
    Talk(parts, demand, 100, at_end);
    EXPECT_EQ(Learned(parts), 1);
    const TokenRatios::View view = parts.converter->PromptRatios(ModelId{0});
    EXPECT_EQ(view.ratios[static_cast<size_t>(PromptSource::kBound)].sum, 0.5) << "100 of the 200 charged";
    Talk(parts, demand, 0, at_end);
    Talk(parts, demand, -7, /*at_end=*/true);
    EXPECT_EQ(Learned(parts), 1) << "nothing was said";
    demand.set_prompt_tokens(100);
    Talk(parts, demand, 100, at_end);
    EXPECT_EQ(Learned(parts), 1) << "what is given teaches nothing of bytes";
    for (const auto& view : parts.controller->GetSnapshot().accounts) EXPECT_EQ(view.account.reserved_bytes, 0);
  }
}

}  // namespace
}  // namespace vramgate

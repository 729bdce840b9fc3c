// Lists of modules, as quantisation tools write them: names, parts of names, globs with *, regular expressions.
//
//   ModuleNames ignored(fields.Strings("ignore"));
//   ignored.Matches("model.layers.3.self_attn.q_proj");
//
// Immutable after construction: any thread may ask.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace vramgate {

class ModuleNames {
 public:
  // An expression that does not compile matches nothing.
  explicit ModuleNames(const std::vector<std::string>& patterns);
  ModuleNames(ModuleNames&&) noexcept;
  ~ModuleNames();

  // `module` is written from the text model's root: "layers.3.self_attn.q_proj", "lm_head". What comes before it in a
  // pattern ("model.", "language_model.model.") is not looked at. A pattern stands for its module and all inside of it,
  // or for every module that has it as one component ("gate").
  bool Matches(std::string_view module) const;

 private:
  std::vector<std::string> names_;  // sorted
  std::vector<std::string> globs_;
  std::vector<std::unique_ptr<re2::RE2>> expressions_;
};

// A module's name without what stands before the text model's root.
std::string_view FromRoot(std::string_view module);

}  // namespace vramgate

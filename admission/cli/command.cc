#include "admission/cli/command.h"

#include <algorithm>
#include <cctype>
#include <iostream>
#include <numeric>
#include <vector>

#include <CLI/CLI.hpp>
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "admission/units.h"

namespace vramgate {
namespace {

// Edits (insert, delete, replace) from one word to the other.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

// " Did you mean --layers?" for the flag or command nearest to what was not expected; "" where none is near.
std::string Suggestion(const CLI::App& app, const std::string& word) {
  std::string best;
  size_t best_distance = 4;  // farther than three edits is another word
  const auto consider = [&](const std::string& name) {
    const size_t distance = Distance(word, name);
    if (distance < best_distance && distance < name.size()) best = name, best_distance = distance;
  };
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) consider("--" + name);
  }
  for (const CLI::App* sub : app.get_subcommands({})) consider(sub->get_name());
  return best.empty() ? "" : " Did you mean " + best + "?";
}

// The subcommand that was being parsed, or the program itself.
const CLI::App& Innermost(const CLI::App& program) {
  const CLI::App* app = &program;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().back();
  return *app;
}

// Adds `flag` to `app`, by the kind of its target.
struct Adder {
  CLI::App& app;
  const Flag& flag;

  CLI::Option* operator()(bool* target) const { return app.add_flag(flag.names, *target, flag.help); }
  CLI::Option* operator()(std::string* target) const { return app.add_option(flag.names, *target, flag.help); }
  CLI::Option* operator()(std::vector<std::string>* target) const {
    return app.add_option(flag.names, *target, flag.help);
  }
  template <typename T>
  CLI::Option* operator()(std::optional<T>* target) const {
    return app.add_option_function<T>(flag.names, [target](const T& value) { *target = value; }, flag.help);
  }
  CLI::Option* operator()(std::optional<absl::Duration>* target) const {
    const auto read = [target, name = flag.names](const std::string& text) {
      const absl::StatusOr<absl::Duration> parsed = ParseDuration(text);
      if (!parsed.ok()) throw CLI::ValidationError(name, std::string(parsed.status().message()));
      *target = *parsed;
    };
    return app.add_option_function<std::string>(flag.names, read, flag.help);
  }
};

void AddCommand(CLI::App& app, const Command& command) {
  CLI::App& sub = *app.add_subcommand(command.name, command.help);
  if (!command.footer.empty()) sub.footer(command.footer);
  for (const Flag& flag : command.flags) {
    CLI::Option& option = *std::visit(Adder{sub, flag}, flag.target);
    option.required(flag.required);
    if (!flag.type.empty()) option.type_name(flag.type);
    if (!flag.group.empty()) option.group(flag.group);
    if (!flag.choices.empty()) option.check(CLI::IsMember(flag.choices));
  }
}

// Says on stderr what is wrong with the command line.
void Explain(const CLI::App& program, const CLI::ParseError& error) {
  const CLI::App& app = Innermost(program);
  const std::vector<std::string> unexpected = program.remaining(/*recurse=*/true);
  std::cerr << app.get_display_name() << ": ";
  if (unexpected.empty()) {
    std::cerr << error.what();
  } else {
    const std::string& word = unexpected.front();
    const std::string name = word.substr(0, std::min(word.find('='), size_t{64}));
    std::cerr << "\"" << word << "\" is not expected here." << Suggestion(app, name);
  }
  std::cerr << "\nSee " << (&app == &program ? "" : program.get_name() + " ") << app.get_name() << " --help\n";
}

bool HasFlag(const Command& command, const std::string& name) {
  return std::any_of(command.flags.begin(), command.flags.end(), [&](const Flag& flag) {
    const std::vector<std::string> names = absl::StrSplit(flag.names, ',');
    return std::find(names.begin(), names.end(), name) != names.end();
  });
}

bool IsWordCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

}  // namespace

ExitCode RunProgram(const Program& program, int argc, const char* const* argv) {
  CLI::App app(program.help, program.name);
  if (!program.version.empty()) {
    app.set_version_flag("--version", program.name + " " + program.version, "Print the version and exit");
  }
  app.require_subcommand(1);
  app.footer(program.footer);
  for (const Command& command : program.commands) AddCommand(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    app.exit(success);
    return ExitCode::kDone;
  } catch (const CLI::ParseError& error) {
    Explain(app, error);
    return ExitCode::kUsage;
  }
  const std::string name = app.get_subcommands().front()->get_name();
  const auto command =
      std::find_if(program.commands.begin(), program.commands.end(), [&](const Command& c) { return c.name == name; });
  return command->run(*command);
}

std::string WithFlagNames(const Command& command, std::string_view message) {
  std::string out;
  size_t i = 0;
  while (i < message.size()) {
    size_t end = i;
    while (end < message.size() && IsWordCharacter(message[end])) ++end;
    if (end == i) {
      out += message[i++];
      continue;
    }
    const std::string word(message.substr(i, end - i));
    std::string name = word;
    std::replace(name.begin(), name.end(), '_', '-');
    // A word alone is a field only where it opens the message; with an underscore it is one anywhere but inside of a
    // path.
    const bool opens = i == 0 && end < message.size() && message[end] == ':';
    const bool inside_path = i > 0 && std::string_view("/.-").find(message[i - 1]) != std::string_view::npos;
    const bool field = opens || (word.find('_') != std::string::npos && !inside_path);
    out += field && HasFlag(command, "--" + name) ? "--" + name : word;
    i = end;
  }
  return out;
}

}  // namespace vramgate

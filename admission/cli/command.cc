#include "admission/cli/command.h"

#include <algorithm>
#include <cctype>
#include <iostream>
#include <numeric>
#include <vector>

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

bool HasFlag(const CLI::App& app, const std::string& name) {
  const auto options = app.get_options();
  return std::any_of(options.begin(), options.end(), [&](const CLI::Option* o) { return o->check_lname(name); });
}

bool IsWordCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

}  // namespace

ExitCode RunProgram(CLI::App& program, int argc, const char* const* argv, const ExitCode& exit) {
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    program.exit(success);
    return ExitCode::kDone;
  } catch (const CLI::ParseError& error) {
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
    return ExitCode::kUsage;
  }
  return exit;
}

std::string WithFlagNames(const CLI::App& command, std::string_view message) {
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
    out += field && HasFlag(command, name) ? "--" + name : word;
    i = end;
  }
  return out;
}

}  // namespace vramgate

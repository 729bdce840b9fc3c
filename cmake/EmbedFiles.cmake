# Run as a script: writes OUTPUT, a source that holds the files of INPUTS as kBuiltinProfiles (admission/estimator/builtin_profiles.h).
set(entries "")
foreach(path IN LISTS INPUTS)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" text)
  string(APPEND entries "    {\"${name}\", R\"json(${text})json\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "#include \"admission/estimator/builtin_profiles.h\"

namespace vramgate {
namespace {
constexpr BuiltinProfile kFiles[] = {
${entries}};
}  // namespace
const std::span<const BuiltinProfile> kBuiltinProfiles = kFiles;
}  // namespace vramgate
")

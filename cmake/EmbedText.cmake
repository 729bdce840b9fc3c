# Run as a script: writes OUTPUT, a source that defines the std::string_view NAME of HEADER as the text of INPUT.
file(READ "${INPUT}" text)
file(WRITE "${OUTPUT}" "#include \"${HEADER}\"

namespace vramgate {
const std::string_view ${NAME} = R\"text(${text})text\";
}  // namespace vramgate
")

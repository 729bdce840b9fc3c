# The three kinds of target in this tree. DEPS is the whole list of what a target may include.
include_guard()

find_program(VRAMGATE_CCACHE ccache)
if(VRAMGATE_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${VRAMGATE_CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${VRAMGATE_CCACHE})
endif()

add_library(vramgate_options INTERFACE)
target_include_directories(vramgate_options INTERFACE ${PROJECT_SOURCE_DIR})
# -pthread, which some dependencies ask for: who shares a precompiled header shares options.
target_compile_options(vramgate_options INTERFACE
  -pthread -Wall -Wextra -Werror -Wno-missing-field-initializers -fno-omit-frame-pointer
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety -Wno-c99-designator>
  # As ccache wants it, to keep what includes a precompiled header.
  $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess> "$<$<CXX_COMPILER_ID:Clang>:SHELL:-Xclang -fno-pch-timestamp>")
if(VRAMGATE_SANITIZE)
  # GCC finds uninitialized and overlapping memory in the standard library where it instruments: see its manual on -fsanitize.
  target_compile_options(vramgate_options INTERFACE -fsanitize=${VRAMGATE_SANITIZE} -fno-sanitize-recover=all
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-restrict>)
  target_link_options(vramgate_options INTERFACE -fsanitize=${VRAMGATE_SANITIZE})
endif()
if(VRAMGATE_FUZZ)
  target_compile_options(vramgate_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# vramgate_precompiled(NAME <header> ... DEPS target ...): heavy headers of others, compiled once for all targets that
# `PRECOMPILED NAME` names. Sources still include what they use (the preset `lint` builds without).
function(vramgate_precompiled name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/${name}.cc CONTENT "")  # CMake wants a source to hang them on
  add_library(${name} OBJECT ${PROJECT_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE vramgate_options ${ARG_DEPS})
  target_precompile_headers(${name} PRIVATE ${ARG_UNPARSED_ARGUMENTS})
endfunction()

# vramgate_library(NAME SRCS a.cc ... DEPS target ... [PRECOMPILED name]): a static library; precompiled_core unless said otherwise.
function(vramgate_library name)
  cmake_parse_arguments(ARG "" "PRECOMPILED" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SRCS})
  target_link_libraries(${name} PUBLIC vramgate_options ${ARG_DEPS})
  if(NOT ARG_PRECOMPILED)
    set(ARG_PRECOMPILED precompiled_core)
  endif()
  target_precompile_headers(${name} REUSE_FROM ${ARG_PRECOMPILED})
endfunction()

# vramgate_test(NAME SRCS a_test.cc ... DEPS target ... [LABELS l ...] [ARGS arg ...]): a GoogleTest program, one ctest entry a program.
function(vramgate_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SRCS;DEPS;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE vramgate_options ${ARG_DEPS} GTest::gmock_main)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  if(ARG_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS}")
  endif()
endfunction()

# vramgate_benchmark(NAME SRCS a.cc ... DEPS target ...): a program that `./dev bench` runs.
function(vramgate_benchmark name)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE vramgate_options ${ARG_DEPS} benchmark::benchmark)
endfunction()

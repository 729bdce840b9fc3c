/* The sizes of the ABI's structs, as compiled in C and in C++: writes them to `out` (room for 16), returns how many. */
#ifndef VRAMGATE_TESTS_PLUGIN_C_HEADER_SIZES_H_
#define VRAMGATE_TESTS_PLUGIN_C_HEADER_SIZES_H_
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
size_t vg_test_sizes_c11(size_t* out);
size_t vg_test_sizes_cxx17(size_t* out);
#ifdef __cplusplus
}
#endif
#endif

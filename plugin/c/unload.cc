// With libstdc++ inside the library, its emergency pool for exceptions is too, and goes when the library is unloaded.
namespace __gnu_cxx {
void __freeres();  // libsupc++/eh_alloc.cc: for leak checkers
}

namespace {

__attribute__((destructor)) void FreePool() {
  __gnu_cxx::__freeres();
}

}  // namespace

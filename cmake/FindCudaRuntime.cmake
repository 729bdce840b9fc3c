# CUDA::cudart_static: from an installed CUDA toolkit, or else from NVIDIA's own wheels `nvidia-cuda-runtime` and
# `nvidia-cuda-crt` as cmake/fetch_cuda_runtime.sh unpacks them. The wheels hold headers and libraries and no nvcc,
# without which CMake's FindCUDAToolkit finds nothing; hence this module, which defines the same target for both.
#
#   VRAMGATE_CUDA_ROOT   where include/cuda_runtime_api.h and lib/libcudart_static.a are, when there is no toolkit
include_guard()

if(DEFINED ENV{VRAMGATE_CUDA_ROOT})
  set(_cuda_default_root $ENV{VRAMGATE_CUDA_ROOT})
else()
  set(_cuda_default_root ${PROJECT_SOURCE_DIR}/.cache/cuda/nvidia/cu13)
endif()
set(VRAMGATE_CUDA_ROOT ${_cuda_default_root} CACHE PATH "NVIDIA's CUDA runtime wheels, unpacked: include/ and lib/")
unset(_cuda_default_root)

if(NOT TARGET CUDA::cudart_static)
  find_package(CUDAToolkit QUIET)
endif()

include(FindPackageHandleStandardArgs)
if(TARGET CUDA::cudart_static)
  set(CudaRuntime_FOUND TRUE)
  if(NOT CudaRuntime_FIND_QUIETLY AND CUDAToolkit_FOUND)
    message(STATUS "CUDA runtime: toolkit ${CUDAToolkit_VERSION} in ${CUDAToolkit_LIBRARY_ROOT}")
  endif()
  return()
endif()

# Looked up anew in every run: the directory may be filled, or VRAMGATE_CUDA_ROOT changed, after a first attempt failed.
unset(CudaRuntime_INCLUDE_DIR CACHE)
unset(CudaRuntime_LIBRARY CACHE)
find_path(CudaRuntime_INCLUDE_DIR NAMES cuda_runtime_api.h PATHS ${VRAMGATE_CUDA_ROOT}/include NO_DEFAULT_PATH)
find_library(CudaRuntime_LIBRARY NAMES libcudart_static.a PATHS ${VRAMGATE_CUDA_ROOT}/lib NO_DEFAULT_PATH)
mark_as_advanced(CudaRuntime_INCLUDE_DIR CudaRuntime_LIBRARY)
# cuda_runtime_api.h includes crt/host_defines.h, which is in the second wheel.
if(CudaRuntime_INCLUDE_DIR AND EXISTS ${CudaRuntime_INCLUDE_DIR}/crt/host_defines.h)
  set(CudaRuntime_CRT TRUE)
endif()
find_package_handle_standard_args(CudaRuntime
  REQUIRED_VARS CudaRuntime_LIBRARY CudaRuntime_INCLUDE_DIR CudaRuntime_CRT
  REASON_FAILURE_MESSAGE "Neither a CUDA toolkit nor NVIDIA's runtime wheels in \
${VRAMGATE_CUDA_ROOT} were found. \
`./dev setup` fetches the wheels (3 MB, no GPU or driver needed), or set \
VRAMGATE_CUDA_ROOT to where they are unpacked.")
if(NOT CudaRuntime_FOUND)
  return()
endif()

find_package(Threads REQUIRED)
add_library(CUDA::cudart_static STATIC IMPORTED)
set_target_properties(CUDA::cudart_static PROPERTIES
  IMPORTED_LOCATION ${CudaRuntime_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${CudaRuntime_INCLUDE_DIR}
  INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};rt")

# CUDA, where there is a compiler for it: nothing but kernels/cuda needs one, and its tests don't.
# Releases configure with -DCMAKE_CUDA_ARCHITECTURES="80-real;90a-real;100-real;90-virtual"; one
# architecture compiles faster.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 90a-real)
endif()
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know it yet
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
  # Keeps what the assembler says of registers and spills beside each object.
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CURRENT_LIST_DIR}/nvcc_log ${CMAKE_CXX_COMPILER_LAUNCHER})

  # softsplice_cuda_objects(NAME a.cu b.cu): an object library for the device.
  function(softsplice_cuda_objects name)
    add_library(${name} OBJECT ${ARGN})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_options(${name} PRIVATE -Werror all-warnings -Xptxas -v
      -Xcompiler=-Wall,-Wextra,-Wshadow,-Wno-missing-field-initializers,-Werror)
  endfunction()
endif()

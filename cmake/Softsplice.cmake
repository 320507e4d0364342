# The project's own build vocabulary: every folder declares libraries, binaries and tests with these.

add_library(softsplice_options INTERFACE)
target_include_directories(softsplice_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(softsplice_options INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers -Werror)
target_compile_definitions(softsplice_options INTERFACE SOFTSPLICE_VERSION="${PROJECT_VERSION}"
  _GLIBCXX_ASSERTIONS)  # an index out of range ends the process instead of going on with garbage
if(SOFTSPLICE_SANITIZE)
  target_compile_options(softsplice_options INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(softsplice_options INTERFACE -fsanitize=address,undefined)
endif()
# Targets with this property are loops over numbers, which neither fuzz targets nor threads of their own
# reach: sanitizers would make their build and their tests many times as long.
set(not_loops $<NOT:$<BOOL:$<TARGET_PROPERTY:SOFTSPLICE_LOOPS>>>)
if(SOFTSPLICE_TSAN)
  # protobuf's headers change the layout of maps with this macro, but its library is built without it.
  target_compile_options(softsplice_options INTERFACE
    $<${not_loops}:-fsanitize=thread> -U__SANITIZE_THREAD__ -fno-omit-frame-pointer)
  target_link_options(softsplice_options INTERFACE -fsanitize=thread)
endif()
if(SOFTSPLICE_FUZZ)
  target_compile_options(softsplice_options INTERFACE
    $<${not_loops}:-fsanitize=fuzzer-no-link,address,undefined> -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(softsplice_options INTERFACE -fsanitize=address,undefined)
endif()

# softsplice_library(NAME SOURCES a.cc b.cc DEPS x y)
function(softsplice_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC softsplice_options ${ARG_DEPS})
endfunction()

# softsplice_binary(NAME SOURCES main.cc DEPS x y): lands in build/bin.
function(softsplice_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE softsplice_options ${ARG_DEPS})
endfunction()

# What has threads of its own, be they the emulated device's. They carry the label "threads", the target
# "thread_tests" builds all of them, and `tests/run --tsan` runs them.
set(SOFTSPLICE_THREAD_TESTS call_test choice_test decoder_engine_test encoder_pool_test kernels_cuda_attention_race_test
    kernels_cuda_barriers_test kernels_cuda_matmul_test kernels_elementwise_test kernels_emulation_test kernels_kv_append_test
    kernels_rank_group_test kernels_sound_ops_test kernels_table_test kernels_thread_pool_test log_test server_metrics_test shared_rows_test stream_call_test)
add_custom_target(thread_tests)

# softsplice_test(NAME SOURCES a_test.cc DEPS x y): one CTest test per binary, run from the source root.
function(softsplice_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE softsplice_options ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  if(name IN_LIST SOFTSPLICE_THREAD_TESTS)
    set_tests_properties(${name} PROPERTIES LABELS threads)
    add_dependencies(thread_tests ${name})
  endif()
endfunction()

# softsplice_fuzzer(NAME SOURCES a_fuzz.cc DEPS x y): only with SOFTSPLICE_FUZZ and clang. The target
# "fuzzers" builds all of them.
if(SOFTSPLICE_FUZZ)
  add_custom_target(fuzzers)
endif()
function(softsplice_fuzzer name)
  if(NOT SOFTSPLICE_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
  target_link_libraries(${name} PRIVATE softsplice_options ${ARG_DEPS} -fsanitize=fuzzer)
  add_dependencies(fuzzers ${name})
endfunction()

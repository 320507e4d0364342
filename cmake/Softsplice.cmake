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
set(SOFTSPLICE_THREAD_TESTS call_test choice_test decoder_engine_test encoder_pool_test gate_test kernels_cuda_attention_race_test
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

# softsplice_fuzzer(NAME SOURCES a_fuzz.cc SEEDS folder DEPS x y): with SOFTSPLICE_FUZZ and clang, a fuzz
# target; the target "fuzzers" builds all of them, and NAME.seeds names the folders that they start from.
# Else a test that gives it these and some noise, so that it never stops compiling unseen.
if(SOFTSPLICE_FUZZ)
  add_custom_target(fuzzers)
else()
  file(GLOB clang_headers /usr/lib/llvm-*/lib/clang/*/include)
  find_path(SOFTSPLICE_FUZZER_HEADERS fuzzer/FuzzedDataProvider.h PATHS ${clang_headers})
endif()
function(softsplice_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;SEEDS;DEPS" ${ARGN})
  if(EXISTS ${PROJECT_SOURCE_DIR}/tests/fuzz/seeds/${name})
    list(APPEND ARG_SEEDS tests/fuzz/seeds/${name})
  endif()
  if(SOFTSPLICE_FUZZ)
    add_executable(${name} ${ARG_SOURCES})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    target_link_libraries(${name} PRIVATE softsplice_options ${ARG_DEPS} -fsanitize=fuzzer)
    list(JOIN ARG_SEEDS "\n" seeds)
    file(WRITE ${CMAKE_BINARY_DIR}/fuzz/${name}.seeds "${seeds}\n")
    add_dependencies(fuzzers ${name})
  elseif(SOFTSPLICE_FUZZER_HEADERS)
    add_executable(${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.cc)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    target_compile_options(${name} PRIVATE -idirafter ${SOFTSPLICE_FUZZER_HEADERS})
    target_link_libraries(${name} PRIVATE softsplice_options ${ARG_DEPS})
    add_test(NAME ${name} COMMAND ${name} ${ARG_SEEDS} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  endif()
endfunction()
